"""The row that must be visible over REST: without seeing it, an empty answer proves nothing."""

from dataclasses import dataclass

from sidecar.data.rest import Rest
from sidecar.domain.look import ProofFailure, Unproven
from sidecar.domain.rule import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A row that must exist: the fixture's canary, or a witness named in the configuration."""

    table: Table
    key: str
    value: str


async def miss_canary(rest: Rest, canary: Canary | None) -> Unproven | None:
    """See the canary with this very client: what the service_key check saw was another connection's sight."""
    if canary is None:
        detail = "no canary and no witness is configured, so nothing proves that rows are visible"
        return Unproven(failure=ProofFailure.CANARY_UNSEEN, detail=detail)
    rows, _ = await rest.rows(canary.table, {"select": canary.key, canary.key: f"eq.{canary.value}", "limit": "2"})
    seen = [str(row.get(canary.key)).lower() for row in rows]
    if seen != [canary.value.lower()]:  # a uuid may be configured in capitals
        detail = f"{canary.table} shows {len(rows)} rows where exactly the one asked for must be"
        return Unproven(failure=ProofFailure.CANARY_UNSEEN, detail=detail)
    return None
