"""What keeps checks honest: parents, deadlines, staleness."""

from tests.mutations.guard import Guard

GUARDS = (
    Guard(
        name="a stale parent says nothing",
        file="sidecar/domain/dependence.py",
        line="if is_stale(parent, state, now):",
        instead="if state.last is None:",
        test="tests/domain/test_dependence.py",
        quick=True,
    ),
    Guard(
        name="all tries share one deadline",
        file="sidecar/engine/trying.py",
        line="(left_seconds - waits_seconds) / tries_left",
        instead="check.timeout_seconds",
        test="tests/engine/test_watch.py::test_all_tries_together_stay_within_the_one_deadline",
    ),
    Guard(
        name="a check never looks twice at once",
        file="sidecar/engine/watch.py",
        line="async with self._looking.setdefault(check.name, asyncio.Lock()):",
        instead="if True:",
        test="tests/engine/test_watch.py::test_a_check_never_looks_twice_at_once",
    ),
    Guard(
        name="no green outlives two intervals",
        file="sidecar/telemetry/series.py",
        line="stale = [prefix for prefix, until in self._until.items() if until < now]",
        instead="stale: list[Labels] = []",
        test="tests/telemetry/test_metrics.py::test_no_green_outlives_two_intervals",
        quick=True,
    ),
    Guard(
        name="a stale look is not probed",
        file="sidecar/web/looks.py",
        line="if seen is None or view.is_stale:",
        instead="if seen is None:",
        test="tests/web/test_looks.py::test_a_look_that_is_too_old_or_missing_is_not_told",
    ),
    Guard(
        name="a window freezes",
        file="sidecar/freezes.py",
        line="if not windows:",
        instead="if True:",
        test="tests/engine/test_maintenance.py",
    ),
    Guard(
        name="a reload takes no freezing window away",
        file="sidecar/config/restart.py",
        line="if window not in after.maintenance.windows",
        instead="if False",
        test="tests/config/test_restart.py",
        quick=True,
    ),
    Guard(
        name="verdicts are held within a window",
        file="sidecar/domain/check.py",
        line="if stands and not maintenance else",
        instead="if stands else",
        test="tests/domain/test_maintenance.py",
        quick=True,
    ),
    Guard(
        name="a reload lifts no freeze by another path",
        file="sidecar/config/restart.py",
        line='"state.freeze_file": lambda config: config.freeze_file,',
        instead="",
        test="tests/config/test_restart.py",
    ),
    Guard(
        name="a reload over HTTP needs a token",
        file="sidecar/web/guard.py",
        line="if self._open:\n            raise HTTPException(403,",
        instead="if False:\n            raise HTTPException(403,",
        test="tests/web/test_changing.py",
        quick=True,
    ),
    Guard(
        name="work keeps its app open over a reload",
        file="sidecar/live.py",
        line="idle = [generation for generation in self._before if not generation.users]",
        instead="idle = list(self._before)",
        test="tests/e2e/test_live.py",
        quick=True,
    ),
)
