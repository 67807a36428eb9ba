"""A journey that cannot be walked is refused when it is read, and one without its user may be left out."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from sidecar.checks.canary_user import CanaryUserKeys
from sidecar.checks.journey import JourneyKeys
from sidecar.config.checks import LeftOut
from tests.checks.journeys import BALANCE, SIGN_IN, STORED, USER
from tests.checks.test_journey import PAID

MISTAKES: tuple[tuple[Mapping[str, object], str], ...] = (
    ({"steps": [{"name": "a", "request": {"url": "/a/{{nobody}}"}}]}, "needs nobody; no earlier step captures that"),
    ({"steps": [{"name": "a", "request": {"url": "https://{{host}}/"}}]}, "whose host is written out"),
    ({"steps": [{"name": "a", "request": {"url": "/{{host}}"}}]}, "must be a path of the backend"),
    ({"steps": [{"name": "a", "request": {"url": "/a{{ 9 }}"}}]}, "without blanks"),
    ({"steps": [{"name": "a", "sign_in": True, "sign_out": True}]}, "exactly one of"),
    ({"steps": [BALANCE]}, "needs token"),
    (
        {"steps": [{"name": "a", "request": {"url": "https://a.example/", "as_user": True}}]},
        "goes with a path of the backend",
    ),
    ({"steps": [SIGN_IN, SIGN_IN]}, "a name of its own"),
    ({"steps": [SIGN_IN, PAID]}, "costs 40 credits, and a budget of 0"),
    ({"steps": [{**STORED, "capture": {"token": "row.a"}}]}, "which sign_in does"),
    ({"steps": [{**BALANCE, "expect": ["certificate != null"]}]}, "unknown name 'certificate'"),
)


@pytest.mark.parametrize(("keys", "message"), MISTAKES)
def test_a_journey_that_cannot_be_walked_is_refused_at_load(keys: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JourneyKeys.model_validate({"user": USER, **keys})


def test_without_a_canary_user_a_journey_may_be_left_out() -> None:
    nobody = {"email": "", "password": ""}
    keys = JourneyKeys.model_validate({"user": nobody, "steps": [SIGN_IN], "required": False})
    assert isinstance(keys.to_spec(), LeftOut)
    user = CanaryUserKeys.model_validate({"user_id": "", "user": nobody, "required": False})
    assert isinstance(user.to_spec(), LeftOut)
