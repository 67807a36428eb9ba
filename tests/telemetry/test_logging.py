import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from sidecar.domain.check import Verdict
from sidecar.domain.event import Event, FaultCaught, LifecycleChanged
from sidecar.domain.masking import CHARACTERS_AT_MOST, MASK, mask, mask_text
from sidecar.domain.run import Outcome
from sidecar.telemetry.lines import CATALOGUE, Line, line_of
from sidecar.telemetry.logging import EventLog, configure_logging
from tests.telemetry.cast import a_check, a_refusal, ended, observed, one_of_each, proven, unproven

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
SECRETS = {
    "a JWT": JWT,
    "a JWT without its signature": JWT.rpartition(".")[0],
    "a new secret key": "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz",
    "a publishable key": "sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH",
    "a personal access token": "sbp_0102030405060708090a0b0c0d0e0f",
    "an e-mail": "jane.doe+tag@mail.example.com",
    "an e-mail in another script": "пётр@пример.рф",
    "a percent-encoded e-mail": "jane%40example.com",
}


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Iterator[EventLog]:
    made = configure_logging(stream, "debug", terminal=False)
    yield made
    made.close()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_event_is_one_line_of_the_catalogue_with_no_field_that_is_not_in_it(
    log: EventLog, stream: io.StringIO
) -> None:
    told = one_of_each()
    assert {type(event) for event in told} == set(get_args(Event))
    for event in told:
        log.hear(event)
    written = lines(stream)
    assert len(written) == len(told)
    kinds = {kind.name: kind for kind in CATALOGUE}
    for line in written:
        kind = kinds[line.pop("event")]
        assert line.pop("level") in kind.levels
        assert datetime.fromisoformat(line.pop("timestamp")).tzinfo == UTC
        assert set(line) <= set(kind.fields), kind.name


def test_names_say_a_noun_and_what_happened_to_it() -> None:
    for kind in CATALOGUE:
        noun, _, verb = kind.name.partition(".")
        assert noun.isalpha()
        assert verb.endswith(("ed", "read", "made", "caught", "held")), kind.name
    assert len({kind.name for kind in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("event", "name", "level"),
    [
        (observed(a_check(), Verdict.UNHEALTHY, "timed_out"), "check.flipped", "warning"),
        (observed(a_check(), Verdict.HEALTHY), "check.flipped", "info"),
        (observed(a_check(), Verdict.UNKNOWN, "timed_out"), "check.observed", "info"),
        (proven({}), "look.finished", "info"),
        (unproven(), "look.finished", "warning"),
        (ended(Outcome.REPAIRED), "cycle.finished", "info"),
        (ended(Outcome.REFUSED, refusal=a_refusal()), "cycle.finished", "warning"),
        (ended(Outcome.VERIFY_FAILED), "cycle.finished", "error"),
    ],
)
def test_the_level_follows_what_happened(event: Event, name: str, level: str) -> None:
    line = line_of(event)
    assert (line.name, line.level) == (name, level)


def test_a_line_below_the_level_is_not_written(stream: io.StringIO) -> None:
    log = EventLog(stream, "warning", terminal=False, trace_ids=lambda: None)
    log.hear(LifecycleChanged(phase="started"))
    assert stream.getvalue() == ""
    log.hear(FaultCaught(where="rule x", error_type="KeyError", detail=""))
    assert [line["event"] for line in lines(stream)] == ["fault.caught"]


def test_a_line_inside_a_span_names_it(stream: io.StringIO) -> None:
    ids: list[tuple[str, str]] = [("a" * 32, "b" * 16)]
    log = EventLog(stream, "info", terminal=False, trace_ids=lambda: ids.pop() if ids else None)
    log.hear(LifecycleChanged(phase="started"))
    log.hear(LifecycleChanged(phase="stopping"))
    inside, outside = lines(stream)
    assert (inside["trace_id"], inside["span_id"]) == ("a" * 32, "b" * 16)
    assert "trace_id" not in outside


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize(
    "shape",
    [
        "{}",
        "the key {} was refused",
        "apikey={}",
        "Authorization: Bearer {}",
        '{{"email":"{}"}}',
        "https://project.supabase.co/rest/v1/users?email=eq.{}&select=id",
        "https://{}@host/path",
        "\n{}\n",
        "<{}>",
        "a,{},b",
    ],
)
def test_no_secret_leaves_in_a_line(secret: str, shape: str, *, terminal: bool) -> None:
    stream = io.StringIO()
    log = EventLog(stream, "debug", terminal=terminal, trace_ids=lambda: None)
    hostile = shape.format(secret)
    log.hear(observed(a_check(), Verdict.UNHEALTHY, "timed_out", detail=hostile))
    log.hear(LifecycleChanged(phase=hostile))
    log.write(Line("library.logged", "error", {"message": {hostile: [hostile, (hostile,), {"x": {hostile}}]}}))
    written = stream.getvalue()
    for spelling in {secret, json.dumps(secret)[1:-1], secret.partition("@")[2] or secret}:
        assert spelling not in written
    assert written.count("\n") == 3


@pytest.mark.parametrize(
    "innocent",
    [
        "sb_key_sent_as_bearer",
        "public.users shrank from 20 to 5, more than 10 %; accept it with: detect --accept-change",
        "read what each does on INSERT, then name it",
        "22cb3917-57f6-49c6-ac96-ec266570081b",
        "https://project.supabase.co/rest/v1/users",
        "ledger.py:12 in read",
        "eyes on the key",
    ],
)
def test_what_is_no_secret_is_left_alone(innocent: str) -> None:
    assert mask_text(innocent) == innocent


def test_a_password_in_an_address_is_cut_out() -> None:
    assert mask_text("postgresql://postgres:p@ss!w0rd@db.host:5432/x") == "postgresql://db.host:5432/x"
    assert mask_text('password = "hunter2hunter2"') == MASK


@pytest.mark.timeout(20)
@pytest.mark.parametrize("filler", ["a", "eyJ.", "://", "@", "sb_secret_", "%40", "token=", "\\", "?"])
def test_hostile_length_costs_little_and_hides_no_secret_at_the_cut(filler: str) -> None:
    for at in (CHARACTERS_AT_MOST, 20_000):
        text = (filler * at)[: at - 10] + f" jane.doe@example.com {JWT} " + filler * 100_000
        masked = mask_text(text)
        assert len(masked) <= CHARACTERS_AT_MOST + 1
        assert "jane" not in masked
        assert "HIUzI1" not in masked


def test_masking_bottoms_out_and_keeps_numbers() -> None:
    nested: list[object] = ["x"]
    for _ in range(50):
        nested = [nested]
    assert "x" not in json.dumps(mask(nested))
    assert mask({"n": 1, "f": 0.5, "b": True, "none": None, "nan": float("nan")}) == {
        "n": 1,
        "f": 0.5,
        "b": True,
        "none": None,
        "nan": "nan",
    }


def test_on_a_terminal_a_line_is_one_line_that_cannot_move_the_cursor(stream: io.StringIO) -> None:
    log = EventLog(stream, "info", terminal=True, trace_ids=lambda: None)
    log.hear(LifecycleChanged(phase="started", detail="two words\n12:00:00 error forged\x1b[2J\u202e"))
    (line,) = stream.getvalue().splitlines()
    assert "lifecycle.changed" in line
    assert "phase=started" in line
    assert "\x1b[2J" not in line
    assert "\u202e" not in line
    assert r"\n12:00:00" in line


def test_libraries_are_heard_from_warning_on_and_masked(
    log: EventLog, stream: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    del log
    for name in ("uvicorn.error", "apscheduler.scheduler", "httpx", "sqlalchemy.engine", "alembic", "httpcore"):
        logging.getLogger(name).info("GET https://x/y?apikey=%s", JWT)
        logging.getLogger(name).warning("could not reach %s with %s", "jane@example.com", JWT)
    written = lines(stream)
    assert [line["logger"] for line in written] == [
        "uvicorn.error",
        "apscheduler.scheduler",
        "httpx",
        "sqlalchemy.engine",
        "alembic",
        "httpcore",
    ]
    assert {line["message"] for line in written} == {f"could not reach {MASK} with {MASK}"}
    caplog.clear()


def test_an_exception_of_a_library_is_named_and_placed_but_not_quoted(log: EventLog, stream: io.StringIO) -> None:
    del log
    try:
        int("[parameters: ('jane', 4711)]")
    except ValueError:
        logging.getLogger("sqlalchemy.pool").exception("while resetting")
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert line["error_type"] == "ValueError"
    assert "test_logging.py" in line["at"][0]
    assert "4711" not in stream.getvalue()


def test_a_library_that_floods_is_written_once(log: EventLog, stream: io.StringIO) -> None:
    del log
    for number in range(1000):
        logging.getLogger("opentelemetry.exporter").warning("Transient error, retrying in %d", number)
    assert len(lines(stream)) == 1


def test_a_record_that_cannot_be_rendered_breaks_nothing(
    log: EventLog, stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = log._handler
    handler.emit(logging.LogRecord("x", logging.ERROR, "", 0, "%d", ("not a number",), None))
    assert stream.getvalue() == ""
    assert capsys.readouterr().err == ""


def test_a_stream_that_is_gone_breaks_nothing(stream: io.StringIO) -> None:
    log = EventLog(stream, "info", terminal=False, trace_ids=lambda: None)
    stream.close()
    log.hear(LifecycleChanged(phase="started"))
    assert stream.closed


def test_closing_leaves_the_standard_library_as_it_was() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    log = configure_logging(io.StringIO(), "info", terminal=False)
    assert (list(root.handlers), root.level) != before
    log.close()
    assert (list(root.handlers), root.level) == before
