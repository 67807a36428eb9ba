"""Guards of an `http` look: what may travel where, and what may be told."""

from tests.mutations.guard import Guard

CONNECTION, REDIRECTS = "tests/checks/test_http_connection.py", "tests/checks/test_redirects.py"
FACTS, MISTAKES = "tests/checks/test_http_facts.py", "tests/checks/test_http_mistakes.py"

GUARDS = (
    Guard(
        name="configured headers stay with their origin",
        file="sidecar/checks/redirects.py",
        line="headers = request.headers if stays else {}",
        instead="headers = request.headers",
        test=f"{REDIRECTS}::test_nothing_that_was_configured_reaches_another_origin",
        quick=True,
    ),
    Guard(
        name="who has been away does not come home again",
        file="sidecar/checks/redirects.py",
        line="is_home=request.is_home and stays",
        instead="is_home=True",
        test=f"{CONNECTION}::test_what_comes_back_from_another_origin_is_told_nothing_either",
    ),
    Guard(
        name="a trace is told to the own origin alone",
        file="sidecar/transport/fresh.py",
        line="if observed is not None and self._route.shows_trace else {}",
        instead="if observed is not None else {}",
        test=f"{CONNECTION}::test_a_trace_is_told_to_the_own_origin_and_to_no_other",
    ),
    Guard(
        name="our certificate is shown to the own origin alone",
        file="sidecar/checks/connection_keys.py",
        line="away = Route(family=self.family, proxy_url=self._proxy_url, tls=theirs, shows_trace=False)",
        instead="away = Route(family=self.family, proxy_url=self._proxy_url, tls=ours, shows_trace=False)",
        test=f"{CONNECTION}::test_our_certificate_is_not_shown_to_where_a_redirect_leads",
    ),
    Guard(
        name="no redirect leads inwards",
        file="sidecar/checks/redirects.py",
        line="if _leads_inwards(request.url, None if is_proxied else answer.address, target):",
        instead="if False:",
        test=f"{REDIRECTS}::test_a_refused_redirect_has_a_reason_of_its_own_and_sends_nothing",
        quick=True,
    ),
    Guard(
        name="a proxy's address is not the target's",
        file="sidecar/checks/redirects.py",
        line="None if is_proxied else answer.address",
        instead="answer.address",
        test=f"{REDIRECTS}::test_a_proxy_inside_makes_no_target_a_neighbour",
    ),
    Guard(
        name="no notation hides an address",
        file="sidecar/checks/redirects.py",
        line='if re.fullmatch(r"[0-9a-fx.]+", bare) else None',
        instead="if False else None",
        test=f"{REDIRECTS}::test_a_redirect_inwards_or_away_from_the_web_is_refused",
    ),
    Guard(
        name="a header that holds what we sent is masked",
        file="sidecar/checks/http_facts.py",
        line="if hidden and any(secret in value for secret in hidden):",
        instead="if False:",
        test=f"{FACTS}::test_headers_are_masked_by_their_name_and_by_what_they_hold",
        quick=True,
    ),
    Guard(
        name="a header with the name of a secret is masked",
        file="sidecar/checks/http_facts.py",
        line="if _SECRET_NAME.search(name):",
        instead="if False:",
        test=f"{FACTS}::test_headers_are_masked_by_their_name_and_by_what_they_hold",
    ),
    Guard(
        name="a condition tells no secret that came back",
        file="sidecar/checks/http.py",
        line="match condition.holds(bindings, secrets):",
        instead="match condition.holds(bindings):",
        test=f"{CONNECTION}::test_credentials_are_sent_and_never_told",
    ),
    Guard(
        name="there are few facts of many headers",
        file="sidecar/checks/http_facts.py",
        line="if len(shown) == HEADERS_AT_MOST:",
        instead="if False:",
        test=f"{FACTS}::test_headers_are_few_and_short_whatever_comes",
    ),
    Guard(
        name="nobody is asked for the password of a key",
        file="sidecar/checks/tls_files.py",
        line='context.load_cert_chain(client.certificate, client.key, password=lambda: "")',
        instead='context.load_cert_chain(client.certificate, client.key, password=lambda: "secret")',
        test=f"{MISTAKES}::test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it",
    ),
)
