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
    Guard(
        name="who hears the route behind a refusal was believed",
        file="sidecar/domain/auth_required.py",
        line="        if status in _BEHIND_THE_REFUSAL:",
        instead="        if False:",
        test="tests/domain/test_auth_required.py::test_each_fault_has_its_reason",
        quick=True,
    ),
    Guard(
        name="what a check shares stays with the origin of its first URL",
        file="sidecar/checks/asking_forms.py",
        line="is_home = whole is home or origin_of(whole) == origin_of(home)",
        instead="is_home = True",
        test="tests/checks/test_http_forms.py::test_what_is_shared_goes_to_the_origin_of_the_first_request_alone",
        quick=True,
    ),
    Guard(
        name="the answer of another request is not told",
        file="sidecar/checks/asking_forms.py",
        line="        self.sight.answer = None  # that",
        instead="        # that",
        test="tests/checks/test_http_forms.py::test_the_request_that_decided_is_told_with_its_own_answer_alone",
    ),
    Guard(
        name="a document that is too long proves nothing",
        file="sidecar/checks/asking_forms.py",
        line="        if unanswered.finding.reason is HttpReason.BODY_TOO_LARGE:",
        instead="        if False:",
        test="tests/checks/test_http_forms.py::test_each_fault_of_a_guarded_route_has_its_reason",
    ),
    Guard(
        name="an authorised call changes nothing",
        file="sidecar/checks/http_keys.py",
        line='and method not in ("GET", "HEAD", "OPTIONS")',
        instead="and False",
        test="tests/checks/test_http_mistakes.py::test_a_mistake_is_told_with_its_place",
    ),
    Guard(
        name="a stranger shows no credentials",
        file="sidecar/checks/http_keys.py",
        line='names & {"authorization", "cookie"}',
        instead="False",
        test="tests/checks/test_http_mistakes.py::test_a_mistake_is_told_with_its_place",
    ),
)
