"""How far away an address is, so that a redirect can be kept from leading inwards."""

import ipaddress
from collections.abc import Sequence
from enum import IntEnum

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Reach(IntEnum):
    """From the innermost outwards. What cannot be placed counts as private."""

    LINK_LOCAL = 0  # where the metadata of cloud machines is served
    LOOPBACK = 1
    PRIVATE = 2
    PUBLIC = 3


def reach_of(address: str) -> Reach:
    """Return the reach of a literal IP address, whatever notation hides it. Raises: ValueError for anything else."""
    ip = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        ip = inner or ip
    if ip.is_link_local:
        return Reach.LINK_LOCAL
    if ip.is_loopback or ip.is_unspecified:  # connecting to 0.0.0.0 or :: arrives at the machine itself
        return Reach.LOOPBACK
    return Reach.PUBLIC if ip.is_global and not ip.is_multicast else Reach.PRIVATE


def leads_inwards(origin: str | None, targets: Sequence[str]) -> bool:
    """Say whether any of the target's addresses lies further inside than the peer that sent us there.

    A peer that is not known counts as public.
    """
    outermost = reach_of(origin) if origin else Reach.PUBLIC
    return any(reach_of(target) < outermost for target in targets)
