"""The kind `log_signature`: counts over a window, over restarts, and never a line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from sidecar.checks.context import ProbeContext
from sidecar.checks.log_drain import LogDrain
from sidecar.checks.log_signature import LogSignatureKeys, LogSignatureProbe, LogSignatureSpec
from sidecar.clock import SystemClock
from sidecar.config.checks import LeftOut
from sidecar.domain.check import Check, Observation, Verdict
from sidecar.errors import StateUnavailable
from sidecar.sights import Kept
from tests.checks.cast import check, context
from tests.checks.journeys import Purses
from tests.fakes import FakeClock
from tests.scripted import Act, html, raw, reply, scripted

SECRET = "somebody@shop.example"
LOOKUP = f"Credit processing failed: Profile lookup error for {SECRET}"
SIGNATURES: Sequence[Mapping[str, object]] = (
    {"name": "profile-lookup", "contains": "Profile lookup error"},
    {"name": "service-key", "matches": "(?i)service key.* invalid", "at_most": 1},
)


def a_check(**keys: object) -> Check:
    given = {"signatures": SIGNATURES, **keys}
    model = LogSignatureKeys.model_validate_json(json.dumps(given), strict=True)
    return check("log_signature", model.to_spec())


class Watched:
    """One check, its file, and a memory that outlives each process."""

    def __init__(self, path: Path) -> None:
        self.path, self.notebook, self.clock = path, Purses(), FakeClock()
        self.check = a_check(files=[str(path)], within="1h")
        self.restart()

    def restart(self) -> None:
        within: ProbeContext = replace(context(), clock=self.clock, notebook=self.notebook)
        self.probe = LogSignatureProbe(within)

    def write(self, *lines: str | bytes) -> None:
        with self.path.open("ab") as file:
            file.writelines((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)

    async def look(self) -> Observation:
        return await self.probe(self.check)

    def counts(self, seen: Observation) -> tuple[int, int]:
        signatures = seen.facts["signatures"]
        assert isinstance(signatures, dict)
        of = signatures["profile-lookup"]
        assert isinstance(of, dict)
        return int(str(of["new"])), int(str(of["within"]))


@pytest.fixture
async def watched(tmp_path: Path) -> Watched:
    watched = Watched(tmp_path / "backend.log")
    watched.write(LOOKUP)  # of before the first look
    assert (await watched.look()).reason == "ok"
    return watched


async def test_a_signature_is_seen_until_it_leaves_the_window(watched: Watched) -> None:
    watched.write("all is well", LOOKUP, LOOKUP)
    seen = await watched.look()
    assert (seen.reason, seen.verdict) == ("signature_seen", Verdict.UNHEALTHY)
    assert seen.detail == "more often than allowed: profile-lookup"
    assert watched.counts(seen) == (2, 2)
    watched.clock.advance(3500)
    assert watched.counts(await watched.look()) == (0, 2)
    watched.clock.advance(200)
    assert (await watched.look()).reason == "ok"


async def test_a_restart_counts_nothing_twice_and_forgets_nothing(watched: Watched) -> None:
    watched.write(LOOKUP)
    await watched.look()
    watched.restart()
    watched.write(LOOKUP)
    assert watched.counts(await watched.look()) == (1, 2)
    watched.restart()
    assert watched.counts(await watched.look()) == (0, 2)


async def test_no_line_is_told_or_kept(watched: Watched) -> None:
    watched.write(LOOKUP, f"Service key given by {SECRET} is invalid")
    seen = await watched.look()
    kept = watched.notebook.kept["log the-check"].body
    for secret in (SECRET, "Credit processing"):
        assert secret not in repr(seen)
        assert secret not in kept


async def test_a_signature_may_be_allowed_some_times(watched: Watched) -> None:
    watched.write("the SERVICE KEY is invalid")
    assert (await watched.look()).reason == "ok"
    watched.write("service key: it is invalid")
    assert (await watched.look()).detail == "more often than allowed: service-key"


async def test_lines_that_are_not_text_are_no_trouble(watched: Watched) -> None:
    watched.write(b"\xff\xfe\x00 service key \xc3( invalid", b"\0" * 10_000, b"\xff Profile lookup error")
    assert watched.counts(await watched.look()) == (1, 1)


async def test_a_pattern_made_to_backtrack_costs_no_more_than_any_other(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "a.log")
    evil = {"name": "evil", "matches": "(a+)+$|(a|aa)+b|(.*a){20}c"}
    watched.check = a_check(files=[str(watched.path)], signatures=[evil])
    watched.write("first")
    await watched.look()
    watched.write(*["a" * 5_000 + "!"] * 20)
    assert (await watched.look()).reason == "ok"


async def test_a_changed_signature_begins_anew(watched: Watched) -> None:
    watched.write(LOOKUP)
    assert (await watched.look()).reason == "signature_seen"
    watched.check = a_check(
        files=[str(watched.path)], signatures=[{"name": "profile-lookup", "contains": "Profile lookup failed"}]
    )
    assert (await watched.look()).reason == "ok"


async def test_what_was_not_read_cannot_be_called_quiet(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "none.log")
    seen = await watched.look()
    assert (seen.reason, seen.verdict, seen.detail) == ("file_missing", Verdict.UNKNOWN, str(watched.path))
    watched.path.mkdir()
    assert (await watched.look()).reason == "file_unreadable"


async def test_what_was_seen_is_certain_also_where_another_file_is_missing(watched: Watched, tmp_path: Path) -> None:
    watched.check = a_check(files=[str(watched.path), str(tmp_path / "none.log")])
    watched.write(LOOKUP)
    seen = await watched.look()
    assert (seen.reason, seen.notes) == ("signature_seen", ("file_missing",))


async def test_a_file_that_went_away_unread_is_told(watched: Watched) -> None:
    watched.write("one")
    await watched.look()
    watched.path.unlink()
    watched.write("two")
    assert (await watched.look()).reason == "lines_lost"
    assert (await watched.look()).reason == "ok"


class Unavailable(Purses):
    """A memory that can be read and not written."""

    async def keep(self, _name: str, _body: str, _version: int, _at: datetime) -> bool:
        raise StateUnavailable("disk full")


async def test_without_a_memory_nothing_is_read_and_nothing_is_lost(watched: Watched) -> None:
    watched.write(LOOKUP)
    full = Unavailable()
    full.kept = watched.notebook.kept
    probe = LogSignatureProbe(replace(context(), clock=watched.clock, notebook=full))
    seen = await probe(watched.check)
    assert (seen.reason, seen.verdict) == ("local_fault", Verdict.UNKNOWN)
    assert watched.counts(await watched.look()) == (1, 1)


async def test_two_that_read_at_once_count_each_line_once(watched: Watched) -> None:
    class Raced(Purses):
        """Lets the command line look first, as soon as the daemon has recalled."""

        raced = False

        async def recall(self, name: str) -> Kept | None:
            kept = await super().recall(name)
            if not self.raced:
                self.raced = True
                await watched.look()
            return kept

    raced = Raced()
    raced.kept = watched.notebook.kept
    watched.write(LOOKUP)
    seen = await LogSignatureProbe(replace(context(), clock=watched.clock, notebook=raced))(watched.check)
    assert watched.counts(seen) == (0, 1)


def drained(clock: FakeClock, notebook: Purses, **keys: object) -> tuple[LogDrain, LogSignatureProbe, Check]:
    watched = a_check(drain=True, **keys)
    assert isinstance(watched.spec, LogSignatureSpec)
    drain = LogDrain({watched.name: watched.spec.signatures})
    within = replace(context(), clock=clock, notebook=notebook, drain=drain)
    return drain, LogSignatureProbe(within), watched


async def test_what_is_drained_is_counted_and_survives_a_memory_that_is_away() -> None:
    clock, notebook = FakeClock(), Purses()
    drain, probe, watched = drained(clock, notebook)
    assert drain.take(["all is well", LOOKUP, f"{LOOKUP}\nin two lines", "service\nkey is invalid"], clock.now()) == 3
    for memory in (None, Unavailable()):
        away = LogSignatureProbe(replace(context(), clock=clock, notebook=memory, drain=drain))
        assert (await away(watched)).reason == "local_fault"
    seen = await probe(watched)
    assert seen.detail == "more often than allowed: profile-lookup"
    assert seen.facts["signatures"] == {
        "profile-lookup": {"new": 2, "within": 2},
        "service-key": {"new": 1, "within": 1},
    }
    assert SECRET not in repr(seen) + notebook.kept["log the-check"].body


async def test_a_look_that_a_reload_overtook_takes_nothing_from_the_next_one() -> None:
    clock = FakeClock()
    drain, probe, overtaken = drained(clock, Purses())
    assert drain.take([LOOKUP], clock.now()) == 1
    spec = a_check(drain=True, signatures=[*SIGNATURES, {"name": "other", "contains": "other"}]).spec
    assert isinstance(spec, LogSignatureSpec)
    drain.follow({overtaken.name: spec.signatures})
    assert (await probe(overtaken)).reason == "drain_silent"
    assert sum(sum(counts.values()) for counts in drain.fetch(overtaken.name, spec.signatures).counts.values()) == 1
    drain.give_back("gone by now", drain.fetch(overtaken.name, spec.signatures))
    assert drain.fetch("gone by now", spec.signatures).counts == {}


async def test_a_drain_that_fell_silent_is_unknown() -> None:
    clock, notebook = FakeClock(), Purses()
    drain, probe, watched = drained(clock, notebook, silent_after="10m")
    assert (await probe(watched)).reason == "ok"
    clock.advance(601)
    assert (await probe(watched)).reason == "drain_silent"
    drain.take(["all is well"], clock.now())
    assert (await probe(watched)).reason == "ok"


async def test_a_drain_that_never_ran_is_unknown() -> None:
    clock, notebook = FakeClock(), Purses()
    drain, probe, watched = drained(clock, notebook)
    assert (await probe(watched)).reason == "drain_silent"
    drain.take(["all is well"], clock.now())
    assert (await probe(watched)).reason == "ok"


def vector(number: object) -> Act:
    return reply(200, {"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, number]}]}})


EMPTY = reply(200, {"status": "success", "data": {"resultType": "vector", "result": []}})
TOTAL = 'sum(count_over_time({app="shop"} [3600s]))'
LOKI = {"selector": '{app="shop"}', "headers": {"X-Scope-OrgID": "shop"}}


async def look_at_loki(answers: Mapping[str, Act], **keys: object) -> tuple[Observation, list[str]]:
    """Ask a scripted Loki that answers each query; others find nothing."""
    async with scripted(lambda asked: answers.get(asked.query["query"], EMPTY)) as server:
        within = replace(context(), clock=SystemClock(), notebook=Purses())
        watched = a_check(loki={**LOKI, "url": server.url}, **keys)
        seen = await LogSignatureProbe(within)(watched)
        assert all(asked.headers["x-scope-orgid"] == "shop" for asked in server.asked)
        return seen, [asked.query["query"] for asked in server.asked]


async def test_loki_is_asked_for_counts_alone() -> None:
    lookup = 'sum(count_over_time({app="shop"} |= "Profile lookup error" [3600s]))'
    seen, asked = await look_at_loki({TOTAL: vector("812"), lookup: vector("3")})
    assert asked == [TOTAL, lookup, 'sum(count_over_time({app="shop"} |~ "(?i)service key.* invalid" [3600s]))']
    assert (seen.reason, seen.facts["signatures"]) == (
        "signature_seen",
        {"profile-lookup": {"new": 0, "within": 3}, "service-key": {"new": 0, "within": 0}},
    )
    assert (await look_at_loki({TOTAL: vector("812")}))[0].reason == "ok"


@pytest.mark.parametrize(
    "act",
    [EMPTY, vector("0"), vector("NaN"), vector(None), reply(500), reply(200, {}), reply(200, []), html(200), raw(b"")],
)
async def test_an_answer_of_lokis_that_proves_nothing_is_unknown(act: Act) -> None:
    seen, _ = await look_at_loki({TOTAL: act})
    assert (seen.reason, seen.verdict) == ("loki_unread", Verdict.UNKNOWN)


def test_without_a_file_a_check_may_be_left_out() -> None:
    keys = LogSignatureKeys.model_validate({"signatures": [*SIGNATURES], "files": [""], "required": False})
    assert isinstance(keys.to_spec(), LeftOut)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "must have files, drain: true, or loki"),
        ({"files": ["a"], "silent_after": "1h"}, "silent_after is about a drain"),
        ({"files": ["a"], "within": "400d"}, "at most 31d"),
        ({"files": ["a"], "signatures": [{"name": "a"}]}, "must have contains or matches"),
        ({"files": ["a"], "signatures": [{"name": "a", "matches": "(?=x)"}]}, "no regular expression of RE2"),
        ({"files": ["a"], "signatures": [{"name": "a", "matches": "("}]}, "no regular expression of RE2"),
        ({"files": ["a"], "signatures": [{"name": "a", "contains": "x\ny"}]}, "text of one line"),
        ({"files": ["a"], "signatures": [SIGNATURES[0], SIGNATURES[0]]}, "each signature and each file once"),
    ],
)
def test_a_log_that_cannot_be_watched_is_refused_at_load(keys: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LogSignatureKeys.model_validate({"signatures": [*SIGNATURES], **keys})
