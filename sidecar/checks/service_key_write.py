"""S8 of a `service_key` check: can the service key write, and anon not? It writes a timestamp of the canary's row.

Nothing of the product's is touched: the configuration refuses any other table. The row needs no cleaning up, since its
column means when it was last touched; had anon changed it, the service key writes its own value once more.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sidecar.checks.asking import Asker
from sidecar.checks.service_key_keys import KnownRow, WriteSpec
from sidecar.checks.service_key_steps import json_of
from sidecar.checks.tables import path_of, read_profile
from sidecar.domain.key_evidence import Step, WriteSight
from sidecar.domain.key_proof import write_landed
from sidecar.ports import Clock
from sidecar.wire import Answer

# One row at most, and an error where it would be more; the rows come back so that they can be counted.
_PREFER = "return=representation, handling=strict, max-affected=1"


@dataclass(slots=True)
class Writes:
    """When each check writes again: after its interval, or at once where the last write did not land."""

    clock: Clock
    _due: dict[str, float] = field(default_factory=dict)

    async def make(
        self, check: str, row: KnownRow, spec: WriteSpec, service: Asker, anon: Asker | None
    ) -> WriteSight | None:
        """Write if it is time; None where it is not, or where nothing could be told of anon."""
        if anon is None or self.clock.monotonic() < self._due.get(check, 0.0):
            return None
        sight = await _write(row, spec, service, anon, self.clock.now())
        if write_landed(sight):
            self._due[check] = self.clock.monotonic() + spec.every_seconds
        return sight


async def _write(row: KnownRow, spec: WriteSpec, service: Asker, anon: Asker, now: datetime) -> WriteSight:
    """Write as service, then another instant as anon, and read what stayed.

    Another replica may write between two of these; then the reading is not ours, and all of it is made once more.
    """
    sight = await _once(row, spec, service, anon, now)
    back = sight.read_back
    if back is not None and back.is_read and not back.matches:
        sight = await _once(row, spec, service, anon, now + timedelta(seconds=1))
    return sight


async def _once(row: KnownRow, spec: WriteSpec, service: Asker, anon: Asker, now: datetime) -> WriteSight:
    written = await _patch("S8 write as service", service, row, spec, now)
    if not written.matches:
        return WriteSight(written=written)
    by_anon = await _patch("S8 write as anon", anon, row, spec, now + timedelta(days=1))
    read_back = await _read("S8 read back", service, row, spec, now)
    if by_anon.visible:
        await _patch("S8 write again", service, row, spec, now)
    return WriteSight(written=written, by_anon=by_anon, read_back=read_back)


async def _patch(name: str, asker: Asker, row: KnownRow, spec: WriteSpec, at: datetime) -> Step:
    profile = {"Content-Profile": row.table.schema} if row.table.schema != "public" else {}
    step, answer = await asker.ask(
        name,
        path_of(row.table),
        method="PATCH",
        params=_one(row, spec),
        headers={"Content-Type": "application/json", "Prefer": _PREFER, **profile},
        content=json.dumps({spec.column: at.isoformat()}).encode(),
    )
    return replace(step, matches=_holds(answer, spec, at))


async def _read(name: str, asker: Asker, row: KnownRow, spec: WriteSpec, at: datetime) -> Step:
    step, answer = await asker.ask(name, path_of(row.table), params=_one(row, spec), headers=read_profile(row.table))
    return replace(step, matches=_holds(answer, spec, at))


def _one(row: KnownRow, spec: WriteSpec) -> Mapping[str, str]:
    return {"select": f"{row.key},{spec.column}", row.key: f"eq.{row.value}"}


def _holds(answer: Answer | None, spec: WriteSpec, at: datetime) -> bool:
    """Tell whether the answer is one row that holds this very instant."""
    body = json_of(answer) if answer is not None else None
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        return False
    try:
        found = datetime.fromisoformat(str(body[0].get(spec.column)))
    except ValueError:
        return False
    return (found if found.tzinfo else found.replace(tzinfo=UTC)) == at
