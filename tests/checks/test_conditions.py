"""CEL as we let it in: only true holds, an error never does, and a wrong name is told before anything starts."""

import pytest

from sidecar.checks.conditions import Errored, Evaluated, Failed, Held, compile_condition
from sidecar.checks.http_names import cel_json
from sidecar.domain.check import JSON

SECRET = "the-answer-holds-a-secret"
ANSWER: dict[str, JSON] = {
    "status": 503,
    "headers": {"content-type": "application/json", "x-secret": SECRET},
    "body": {"ok": True, "yes": "yes", "count": 3, "price": 1.5, "items": [1, 2], "none": None, "token": SECRET},
    "text": f"hello {SECRET}",
    "latency_seconds": 0.25,
    "phases": {"connect": 0.1},
    "certificate": None,
}


def holds(text: str) -> Evaluated:
    return compile_condition(text).holds(ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        "status == 503",
        "body.ok",
        "body.count + 1 == 4",
        "body.price * 2.0 == 3.0",
        "body.none == null",
        "size(body.items) == 2",
        "body.items.all(i, i > 0)",
        "text.startsWith('hello')",
        "latency_seconds < 1",
        "latency_seconds < 1.0",
        "phases.connect < 0.2",
        "certificate == null",
        "headers['content-type'].contains('json')",
        "'x-secret' in headers && !('x-other' in headers)",
        "!has(body.missing)",
    ],
)
def test_true_holds(text: str) -> None:
    assert holds(text) == Held()


@pytest.mark.parametrize("text", ["status == 200", "body.ok == false", "has(body.missing)"])
def test_false_does_not_hold(text: str) -> None:
    assert isinstance(holds(text), Failed)


@pytest.mark.parametrize("text", ["status", "body.yes", "body.count", "body", "body.none", "1"])
def test_a_result_that_is_not_boolean_does_not_hold(text: str) -> None:
    result = holds(text)
    assert isinstance(result, Failed)
    assert "not a boolean" in result.detail


@pytest.mark.parametrize(
    "text",
    ["body.missing", "body.missing == 1", "1 / 0 == 1", "headers['nope'] == ''", "body.yes > 1", "text.matches('(a')"],
)
def test_an_error_is_an_error_although_the_library_returns_it_as_something_truthy(text: str) -> None:
    assert isinstance(holds(text), Errored)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("statsu == 200", "unknown name 'statsu'"),
        ("body.ok && nope()", "unknown name 'nope'"),
        ("status ==", "not a CEL expression"),
        ("status == '200'", "no matching overload"),
        ("", "not a CEL expression"),
        ("1+" * 900 + "1 > 0", "not a CEL expression"),
        ("true" + " " * 3000, "at most 2000"),
    ],
)
def test_what_does_not_compile_is_a_mistake_of_the_configuration(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compile_condition(text)


def test_a_condition_that_runs_too_long_is_stopped() -> None:
    answer: dict[str, JSON] = {**ANSWER, "body": list(range(2000))}
    result = compile_condition("body.all(x, body.all(y, x + y >= 0))").holds(answer)
    assert isinstance(result, Errored)
    assert "budget" in result.detail


@pytest.mark.parametrize(
    "text",
    [
        "text == 'x'",
        "body == 'x'",
        "headers['x-secret'] == 'x'",
        "body.token == 'x'",
        "text",
        "{'a': true}[text]",
        "int(text) == 1",
        "text.matches(text + '(')",
        "body[body.token] == 1",
    ],
)
def test_no_answer_content_reaches_a_detail(text: str) -> None:
    result = holds(text)
    assert isinstance(result, (Failed, Errored))
    assert SECRET not in repr(result)


def test_a_failure_names_what_it_looked_at() -> None:
    result = holds("status == 200 && size(body.items) > 1")
    assert result == Failed("status == 200 && size(body.items) > 1: status is 503, size(body.items) is 2")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"NaN", b"[" * 100_000, b"<html>"])
def test_a_body_that_is_not_json_is_null(content: bytes) -> None:
    assert cel_json(content) is None


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 20, "-" + "9" * 30, "9" * 5000, "1e400", "1e99999999999999999999"])
def test_numbers_of_any_size_can_be_compared(digits: str) -> None:
    result = compile_condition("body > 0 || body < 0").holds({**ANSWER, "body": cel_json(digits.encode())})
    assert result == Held()


def test_deep_and_odd_json_is_evaluated_or_refused_but_never_fatal() -> None:
    for content in (b"[" * 400 + b"]" * 400, b'"\\ud800"', b'{"a": "\\u0000"}'):
        result = compile_condition("body != 1").holds({**ANSWER, "body": cel_json(content)})
        assert isinstance(result, (Held, Errored))
