"""No notation of an address hides where it leads."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.reach import Reach, leads_inwards, reach_of


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("169.254.169.254", Reach.LINK_LOCAL),
        ("fe80::1%eth0", Reach.LINK_LOCAL),
        ("::ffff:169.254.169.254", Reach.LINK_LOCAL),
        ("64:ff9b::a9fe:a9fe", Reach.LINK_LOCAL),
        ("2002:a9fe:a9fe::1", Reach.LINK_LOCAL),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.9.9.9", Reach.LOOPBACK),
        ("[::1]", Reach.LOOPBACK),
        ("0.0.0.0", Reach.LOOPBACK),  # noqa: S104  # an address that is asked for, not listened on
        ("::", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("10.1.2.3", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("224.0.0.1", Reach.PRIVATE),
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
    ],
)
def test_an_address_is_placed_whatever_notation_hides_it(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


@pytest.mark.parametrize("address", ["", "localhost", "2130706433", "0x7f.1", "127.1"])
def test_what_is_no_literal_address_must_be_resolved_first(address: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        reach_of(address)


@pytest.mark.parametrize(
    ("origin", "targets", "inwards"),
    [
        ("8.8.8.8", ["1.1.1.1"], False),
        ("8.8.8.8", ["10.0.0.1"], True),
        ("8.8.8.8", ["1.1.1.1", "127.0.0.1"], True),
        ("127.0.0.1", ["127.0.0.1"], False),
        ("127.0.0.1", ["10.0.0.1"], False),
        ("127.0.0.1", ["169.254.169.254"], True),
        ("169.254.1.1", ["169.254.169.254"], False),
        (None, ["10.0.0.1"], True),
        (None, ["8.8.8.8"], False),
    ],
)
def test_a_redirect_may_lead_outwards_and_never_inwards(origin: str | None, targets: list[str], inwards: bool) -> None:  # noqa: FBT001
    assert leads_inwards(origin, targets) is inwards


@given(st.ip_addresses(v=4).map(str))
def test_an_ipv4_address_is_placed_alike_in_every_guise(address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    nat64 = str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number))
    assert reach_of(address) is reach_of(f"::ffff:{address}") is reach_of(nat64)
