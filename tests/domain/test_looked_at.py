"""A failed condition tells the values it looked at, and nothing that nobody may see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.check import JSON
from sidecar.domain.looked_at import Looked, looked_at, shown_values

NAMES = ("status", "headers", "body", "text", "latency_seconds", "certificate")
SECRET = "the-value-that-was-sent"
ANSWER: dict[str, JSON] = {
    "status": 503,
    "headers": {"content-type": "text/html", "set-cookie": "a=b"},
    "body": {
        "ok": True,
        "state": "down",
        "items": [1, {"n": 2.5}],
        "token": "abc",
        "none": None,
        "echo": f"<{SECRET}>",
    },
    "text": "a page",
    "latency_seconds": 0.25,
    "certificate": None,
}


def shown(text: str) -> str:
    return shown_values(looked_at(text, NAMES), ANSWER, [SECRET])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("status == 200", "status is 503"),
        ("status == 200 && status < 500", "status is 503"),
        ('body.state == "healthy" && latency_seconds < 0.1', 'body.state is "down", latency_seconds is 0.25'),
        ("size(body.items) >= 7", "size(body.items) is 2"),
        ("body.items.all(i, i > 1)", "body.items has 2 entries"),
        ("body.items[1].n == 1.0", "body.items[1].n is 2.5"),
        ("!body.ok", "body.ok is true"),
        ("body.missing == 1", "body.missing is not there"),
        ("body.none == 1", "body.none is null"),
        ("headers['content-type'] == 'x'", 'headers["content-type"] is "text/html"'),
        ("'x-request-id' in headers", "headers has 2 entries"),
        ("text.contains('status')", "text has 6 characters"),
        ("certificate.expires_in_seconds > 1", "certificate.expires_in_seconds is not there"),
        ("body[body.state] == 1", 'body has 6 entries, body.state is "down"'),
        ("true", ""),
    ],
)
def test_the_values_are_those_that_the_condition_names(text: str, values: str) -> None:
    assert shown(text) == values


@pytest.mark.parametrize(
    "text", ["body.token == 'x'", "headers['set-cookie'] == 'x'", "body.echo == 'x'", 'body["token"] == "x"']
)
def test_what_is_named_or_known_as_a_secret_is_masked(text: str) -> None:
    assert shown(text).endswith("is [masked]")


@pytest.mark.parametrize("value", ["eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "sb_secret_abcdefgh", "somebody@velro.example"])
def test_what_looks_like_a_key_or_an_address_is_masked(value: str) -> None:
    assert value not in shown_values([Looked(("body", "note"))], {"body": {"note": f"see {value}"}})


@given(st.text(), st.dictionaries(st.text(max_size=8), st.text(), max_size=3))
def test_hostile_texts_and_answers_give_one_short_line(text: str, body: dict[str, str]) -> None:
    found = looked_at(f"body.{text} == {text}", NAMES)
    values = shown_values([*found, *(Looked(("body", key)) for key in body)], {"body": dict(body)}, [SECRET])
    assert len(values.splitlines()) <= 1
    assert all(letter.isprintable() for letter in values)


def test_a_long_value_and_many_values_are_cut() -> None:
    assert len(shown_values([Looked(("body", "a"))], {"body": {"a": "x" * 9999}})) < 110
    many = [Looked(("body", str(number))) for number in range(9)]
    assert shown_values(many, {"body": {}}).endswith("and 3 more")
