"""What the daemon tells of the audit: the head while the chain holds, and never that all is well when it is not."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.domain.audit import Flaw
from sidecar.domain.check import Verdict
from sidecar.domain.event import AuditChecked, Event
from sidecar.engine.audit_watch import AuditWatch
from sidecar.ports import State
from sidecar.state.open import open_state
from sidecar.telemetry.lines import line_of
from sidecar.telemetry.metrics import Metrics
from tests.audit.cast import chained, lived, overwrite, sealed, with_value
from tests.fakes import RecordingReporter


class Told(RecordingReporter):
    """Remembers what was told, and shows it as metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry, [], {}, [])

    def emit(self, event: Event) -> None:
        super().emit(event)
        self._metrics.hear(event)

    def gauges(self) -> tuple[float | None, float | None]:
        """The values of chain_ok and head_seq; None while absent."""
        names = ("sidecar_audit_chain_ok", "sidecar_audit_head_seq")
        ok, head = (self.registry.get_sample_value(name) for name in names)
        return ok, head

    @property
    def last(self) -> AuditChecked:
        return self.told(AuditChecked)[-1]


def spoil(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    for beside in path.parent.glob("*-*"):
        beside.unlink()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watch(state: State, told: Told) -> AuditWatch:
    return AuditWatch(state=state, reporter=told)


async def test_the_whole_chain_is_verified_at_first_and_then_what_was_added(
    state: State, watch: AuditWatch, told: Told
) -> None:
    assert told.gauges() == (None, None)
    first = await lived(state, 12)
    await watch.check()
    assert told.gauges() == (1, len(first))
    rows = await lived(state, 12)
    await watch.check()
    assert told.gauges() == (1, len(rows))
    assert [(event.seq, event.rows) for event in told.told(AuditChecked)] == [
        (len(first), len(first)),
        (len(rows), len(rows) - len(first) + 1),
    ]
    line = line_of(told.last)
    assert (line.name, line.level, line.fields["seq"], line.fields["hash"]) == (
        *("audit.anchored", "info"),
        *(len(rows), rows[-1].hash),
    )


async def test_an_audit_without_rows_is_not_told_to_be_well(watch: AuditWatch, told: Told) -> None:
    await watch.check()
    assert (told.events, told.gauges()) == ([], (None, None))


async def test_an_edit_among_what_was_added_is_told_and_stays_told_until_it_is_undone(
    state: State, path: Path, watch: AuditWatch, told: Told
) -> None:
    await lived(state, 6)
    await watch.check()
    rows = await lived(state, 6)
    overwrite(path, [*rows[:-1], with_value(rows[-1], "actor", "mallory")])
    for _ in range(2):
        await watch.check()
        assert (told.last.verdict, told.last.flaw, told.last.seq) == (
            *(Verdict.UNHEALTHY, Flaw.ROW_CHANGED),
            len(rows),
        )
        assert told.gauges() == (0, None)
    assert (line_of(told.last).name, line_of(told.last).level) == ("audit.failed", "error")
    overwrite(path, rows)
    await watch.check()
    assert told.gauges() == (1, len(rows))
    assert told.last.rows == len(rows), "after something was wrong, the whole chain is verified"


async def test_an_edit_before_what_was_added_is_told_by_the_next_start(
    state: State, path: Path, watch: AuditWatch, told: Told
) -> None:
    rows = await lived(state, 12)
    overwrite(path, [with_value(rows[0], "actor", "mallory"), *rows[1:]])
    await watch.check()
    assert (told.last.flaw, told.last.seq) == (Flaw.ROW_CHANGED, 1)


async def test_a_cut_tail_is_told_and_does_not_heal_by_being_looked_at_again(
    state: State, path: Path, watch: AuditWatch, told: Told
) -> None:
    rows = await lived(state, 12)
    await watch.check()
    for left in (rows[:-3], [], chained(rows[:-1])):
        overwrite(path, left)
        for _ in range(2):
            await watch.check()
            assert told.last.flaw in (Flaw.TAIL_CUT, Flaw.EMPTIED)
            assert told.gauges() == (0, None)


async def test_a_chain_written_anew_behind_the_last_head_is_told(
    state: State, path: Path, watch: AuditWatch, told: Told
) -> None:
    rows = await lived(state, 12)
    await watch.check()
    overwrite(path, chained([*rows[:3], sealed(with_value(rows[3], "actor", "mallory")), *rows[4:]]))
    for _ in range(2):
        await watch.check()
        assert (told.last.verdict, told.last.flaw) == (Verdict.UNHEALTHY, Flaw.REWRITTEN)


async def test_memory_that_cannot_be_read_is_unknown_and_not_well(path: Path, told: Told) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        watch = AuditWatch(state=state, reporter=told)
        await lived(state, 12)
        await watch.check()
    spoil(path)
    await watch.check()
    assert (told.last.verdict, told.gauges()) == (Verdict.UNKNOWN, (None, None))
    assert (line_of(told.last).name, line_of(told.last).level) == ("audit.failed", "warning")
