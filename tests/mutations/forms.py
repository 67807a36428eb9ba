"""Checks of several requests: what a 401 does not prove."""

from tests.mutations.guard import Guard

GUARDS = (
    Guard(
        name="a forged token that is let in is worst but one",
        file="sidecar/domain/auth_required.py",
        line="    for how, status in seen.forged.items():\n        if _is_let_in(status):",
        instead="    for how, status in seen.forged.items():\n        if False:",
        test="tests/checks/test_http_forms.py::test_each_fault_of_a_guarded_route_has_its_reason",
        quick=True,
    ),
    Guard(
        name="a route that nobody names is missing, whatever it answers",
        file="sidecar/domain/auth_required.py",
        line="    if seen.exists is False:",
        instead="    if False:",
        test="tests/domain/test_auth_required.py::test_nothing_but_a_proven_route_that_refuses_is_fine",
    ),
    Guard(
        name="a route that nobody could prove is unknown",
        file="sidecar/domain/auth_required.py",
        line="    if seen.exists is None:",
        instead="    if False:",
        test="tests/domain/test_auth_required.py::test_nothing_but_a_proven_route_that_refuses_is_fine",
    ),
    Guard(
        name="everybody is a foreign page too",
        file="sidecar/domain/cors.py",
        line='    if opened_to in ("*", "null", cors.foreign_origin):',
        instead="    if opened_to == cors.foreign_origin:",
        test="tests/domain/test_cors.py::test_nothing_that_opens_to_a_foreign_page_is_ever_fine",
    ),
    Guard(
        name="an error answer that is none proves nothing",
        file="sidecar/domain/cors.py",
        line="    if answer.step is CorsStep.ERROR and answer.status < 400:",
        instead="    if False:",
        test="tests/checks/test_http_forms.py::test_each_fault_of_cors_has_its_reason",
    ),
)
