"""A route that must be there and let nobody in: what each answer proves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.auth_required import AuthSeen, judge_auth, names_route
from sidecar.domain.check import JSON

DOCUMENT: JSON = {
    "paths": {
        "/api/v1/credits/balance": {"get": {}},
        "/api/v1/generations/{id}": {"get": {}, "delete": {}},
        "/files/{name}.{kind}": {"get": {}},
        "/odd": "not operations",
    }
}


def seen(*, exists: bool | None = True, without: int = 401, foreign: int = 401, unsigned: int = 403) -> AuthSeen:
    forged = {"a token signed with a foreign key": foreign, "a token without a signature": unsigned}
    return AuthSeen(
        exists=exists, without=without, forged=forged, unproven="" if exists is not None else "nobody knows"
    )


def test_a_route_that_is_there_and_refuses_is_fine() -> None:
    assert judge_auth(seen()) is None
    assert judge_auth(seen(foreign=403, unsigned=400)) is None


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (seen(without=200), "auth_not_required"),
        (seen(without=204, exists=False), "auth_not_required"),
        (seen(foreign=200), "forged_token_accepted"),
        (seen(unsigned=200, exists=None), "forged_token_accepted"),
        (seen(foreign=422), "forged_token_accepted"),
        (seen(without=403, unsigned=404), "forged_token_accepted"),
        (seen(exists=False), "route_missing"),
        (seen(exists=False, without=404, foreign=404), "route_missing"),
        (seen(without=404), "auth_answer_unexpected"),
        (seen(without=500), "auth_answer_unexpected"),
        (seen(without=307), "auth_answer_unexpected"),
        (seen(without=422, foreign=422), "auth_answer_unexpected"),
        (seen(foreign=503), "auth_answer_unexpected"),
        (seen(foreign=429), "auth_answer_unexpected"),
        (seen(exists=None), "route_unproven"),
    ],
)
def test_each_fault_has_its_reason(case: AuthSeen, reason: str) -> None:
    fault = judge_auth(case)
    assert fault is not None
    assert fault.reason == reason
    assert fault.detail


statuses = st.sampled_from([200, 204, 307, 400, 401, 403, 404, 422, 500, 503])


@given(exists=st.sampled_from([True, False, None]), without=statuses, foreign=statuses, unsigned=statuses)
def test_nothing_but_a_proven_route_that_refuses_is_fine(
    exists: bool | None,  # noqa: FBT001  # drawn by hypothesis
    without: int,
    foreign: int,
    unsigned: int,
) -> None:
    fault = judge_auth(seen(exists=exists, without=without, foreign=foreign, unsigned=unsigned))
    refuses = without in (401, 403) and all(status in (400, 401, 403) for status in (foreign, unsigned))
    assert (fault is None) == (exists is True and refuses)


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/api/v1/credits/balance", True),
        ("GET", "/api/v1/credits/balance/", True),
        ("POST", "/api/v1/credits/balance", False),
        ("DELETE", "/api/v1/generations/7f", True),
        ("GET", "/api/v1/generations/7f/more", False),
        ("GET", "/api/v1/generations/", False),
        ("GET", "/files/a.png", True),
        ("GET", "/odd", False),
        ("GET", "/api/v1/creditsxbalance", False),
    ],
)
def test_a_document_names_routes_by_template_and_method(method: str, path: str, named: bool) -> None:  # noqa: FBT001  # a table
    assert names_route(DOCUMENT, method, path) is named


@pytest.mark.parametrize("document", [None, [], "paths", {}, {"paths": ["/x"]}])
def test_what_is_no_such_document_proves_nothing(document: object) -> None:
    assert names_route(document, "GET", "/x") is None  # type: ignore[arg-type]  # whatever came


names = st.text(st.characters(codec="ascii", exclude_characters="/{}"), min_size=1, max_size=8)


@given(st.lists(st.tuples(names, st.booleans(), names), min_size=1, max_size=5))
def test_a_template_names_what_it_was_made_from(parts: list[tuple[str, bool, str]]) -> None:
    template = "".join(f"/{name}{{{name}}}" if is_open else f"/{name}" for name, is_open, _ in parts)
    path = "".join(f"/{name}{value}" if is_open else f"/{name}" for name, is_open, value in parts)
    document: JSON = {"paths": {template: {"get": {}}}}
    assert names_route(document, "GET", path) is True
    assert names_route(document, "GET", f"{path}/more") is False
    assert names_route(document, "GET", path.rpartition("/")[0]) is False


@pytest.mark.parametrize("template", ["/" + "{a}x" * 5_000 + "y", "/" + "{" * 100_000, "/" + "{a}" * 20_001])
def test_a_hostile_document_is_read_in_no_time(template: str) -> None:
    assert names_route({"paths": {template: {"get": {}}}}, "GET", "/" + "x" * 20_000) is False


def test_each_parameter_takes_a_character() -> None:
    document: JSON = {"paths": {"/{a}{b}": {"get": {}}}}
    assert [names_route(document, "GET", path) for path in ("/", "/x", "/xy", "/xyz")] == [False, False, True, True]
