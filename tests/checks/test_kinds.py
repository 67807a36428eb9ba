"""What every kind must have, so that adding one forgets nothing."""

from pathlib import Path

from sidecar.checks.kinds import KINDS
from sidecar.domain.check import Verdict
from sidecar.domain.reasons import (
    BY_CAUSE,
    CanaryUserReason,
    CatalogueReason,
    HttpReason,
    JourneyReason,
    LogSignatureReason,
    ServiceKeyReason,
)
from sidecar.errors import Unreached

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"


def test_every_kind_has_its_model_and_its_reasons() -> None:
    assert set(KINDS) == {"http", "service_key", "catalogue", "journey", "canary_user", "log_signature"}
    for name, kind in KINDS.items():
        assert kind.name == name
        assert "ok" in set(kind.reasons)
        assert callable(getattr(kind.model, "to_spec", None))
        assert kind.model.model_config["extra"] == "forbid"


def test_every_kind_describes_its_keys_as_json_schema() -> None:
    for kind in KINDS.values():
        properties = kind.model.model_json_schema()["properties"]
        assert set(properties) == set(kind.model.model_fields)


def test_every_key_and_every_reason_is_in_the_reference() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind in KINDS.values():
        words = [*kind.model.model_fields, *(reason.value for reason in kind.reasons)]
        assert [word for word in words if f"`{word}`" not in page] == [], kind.name


def test_every_way_not_to_be_answered_is_a_reason() -> None:
    assert set(BY_CAUSE) == set(Unreached)
    unknown = {reason.value for reason in HttpReason if reason.verdict is Verdict.UNKNOWN}
    nobody_knows = {"resolver_failed", "network_unreachable", "local_fault"}
    assert unknown == nobody_knows | {"cors_error_unseen", "route_unproven"}
    for walking in (JourneyReason, CanaryUserReason):
        assert set(Unreached) <= set(walking)
        assert nobody_knows < {reason.value for reason in walking if reason.verdict is Verdict.UNKNOWN}
    for reasons in (
        HttpReason,
        ServiceKeyReason,
        CatalogueReason,
        JourneyReason,
        CanaryUserReason,
        LogSignatureReason,
    ):
        assert [reason.value for reason in reasons if reason.verdict is Verdict.HEALTHY] == ["ok"]
