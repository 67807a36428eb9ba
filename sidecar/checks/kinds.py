"""Every kind of check. Adding one is a file, a line here, a section in docs/reference/checks.md and a test file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import pydantic

from sidecar.checks.canary_user import CanaryUserKeys, CanaryUserProbe
from sidecar.checks.catalogue import CatalogueProbe
from sidecar.checks.catalogue_keys import CatalogueKeys
from sidecar.checks.context import ProbeContext
from sidecar.checks.http import HttpProbe
from sidecar.checks.http_keys import HttpKeys
from sidecar.checks.journey import JourneyKeys, JourneyProbe
from sidecar.checks.log_signature import LogSignatureKeys, LogSignatureProbe
from sidecar.checks.service_key import ServiceKeyProbe
from sidecar.checks.service_key_keys import ServiceKeyKeys
from sidecar.domain.reasons import (
    CanaryUserReason,
    CatalogueReason,
    HttpReason,
    JourneyReason,
    LogSignatureReason,
    ServiceKeyReason,
)
from sidecar.ports import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of check: the model of its own keys (with `to_spec()`), its closed reasons, and how its probe is built."""

    name: str
    model: type[pydantic.BaseModel]
    reasons: type[StrEnum]
    build: Callable[[ProbeContext], Probe]


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="http", model=HttpKeys, reasons=HttpReason, build=HttpProbe),
        Kind(name="service_key", model=ServiceKeyKeys, reasons=ServiceKeyReason, build=ServiceKeyProbe),
        Kind(name="catalogue", model=CatalogueKeys, reasons=CatalogueReason, build=CatalogueProbe),
        Kind(name="journey", model=JourneyKeys, reasons=JourneyReason, build=JourneyProbe),
        Kind(name="canary_user", model=CanaryUserKeys, reasons=CanaryUserReason, build=CanaryUserProbe),
        Kind(name="log_signature", model=LogSignatureKeys, reasons=LogSignatureReason, build=LogSignatureProbe),
    )
}
