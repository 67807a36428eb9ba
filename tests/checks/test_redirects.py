"""Where redirects may lead: outwards, counted, and never with what was configured."""

import httpx
import pytest

from sidecar.checks.redirects import Forbidden, Onward, Request, redirected
from sidecar.wire import Answer
from tests.checks.cast import context, look_http
from tests.scripted import Act, Asked, reply, scripted

PUBLIC, INSIDE = "https://backend.example/", "http://127.0.0.1/"


def led(origin: str, location: str, peer: str | None = "93.184.216.34", *, is_proxied: bool = False) -> Onward:
    answer = Answer(status=302, headers={"location": location}, content=b"", duration_seconds=0.0, address=peer)
    request = Request(method="GET", url=httpx.URL(origin), headers={"X-Key": "secret"})
    return redirected(request, answer, is_proxied=is_proxied)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://localhost:9877/",
        "http://LOCALHOST./",
        "http://db.localhost/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://0.0.0.0/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://10.0.0.5/",
        "http://192.168.1.1/admin",
        "http://172.16.0.1/",
        "http://[fd00::1]/",
        "//169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "file:///etc/passwd",
        "ftp://elsewhere.example/",
        "gopher://127.0.0.1:6379/_",
        "data:text/plain,healthy",
    ],
)
def test_a_redirect_inwards_or_away_from_the_web_is_refused(location: str) -> None:
    assert isinstance(led(PUBLIC, location), Forbidden)


@pytest.mark.parametrize(
    ("origin", "location", "peer"),
    [
        (PUBLIC, "https://elsewhere.example/", "93.184.216.34"),
        (PUBLIC, "http://8.8.8.8/", "93.184.216.34"),
        (PUBLIC, "http://10.0.0.5/", "10.0.0.4"),  # a name of the own network
        (INSIDE, "http://localhost/", "127.0.0.1"),
        (INSIDE, "http://10.0.0.5/", "127.0.0.1"),
        ("http://169.254.1.1/", "http://169.254.169.254/", "169.254.1.1"),
    ],
)
def test_a_redirect_outwards_is_followed(origin: str, location: str, peer: str) -> None:
    onward = led(origin, location, peer)
    assert isinstance(onward, Request)
    assert (onward.headers, onward.is_home) == ({}, False)


def test_a_proxy_inside_makes_no_target_a_neighbour() -> None:
    assert isinstance(led(PUBLIC, "http://10.0.0.5/", "10.0.0.4", is_proxied=True), Forbidden)


async def test_a_refused_redirect_has_a_reason_of_its_own_and_sends_nothing() -> None:
    """The proxy answers in the name of a public origin."""
    async with scripted(lambda _: reply(200)) as inside:
        moved = reply(302, "", {"Location": f"{inside.url}/"})
        async with scripted(lambda _: moved) as proxy:
            keys = {"url": "http://backend.example/", "proxy": proxy.url, "follow_redirects": True}
            seen = await look_http(context(), keys)
        assert inside.asked == []
    assert (seen.reason, seen.facts["redirects"], seen.facts["status"]) == ("redirect_refused", 0, 302)
    assert seen.detail == "a redirect that leads to an address further inside"


@pytest.mark.parametrize(("most", "reason", "followed"), [(1, "too_many_redirects", 1), (2, "ok", 2), (20, "ok", 2)])
async def test_redirects_are_counted_up_to_what_is_allowed(most: int, reason: str, followed: int) -> None:
    def script(asked: Asked) -> Act:
        return {"/": reply(302, "", {"Location": "/1"}), "/1": reply(302, "", {"Location": "/2"})}.get(
            asked.path, reply(200)
        )

    async with scripted(script) as server:
        keys = {"url": f"{server.url}/", "follow_redirects": True, "max_redirects": most}
        seen = await look_http(context(), keys)
    assert (seen.reason, seen.facts["redirects"], len(server.asked)) == (reason, followed, followed + 1)


SENT = {"Authorization": "Bearer the-token", "Cookie": "a=the-cookie", "apikey": "the-key", "X-Own": "the-own"}


async def test_nothing_that_was_configured_reaches_another_origin() -> None:
    async with (
        scripted(lambda _: reply(200)) as other,
        scripted(lambda _: reply(302, "", {"Location": f"{other.url}/"})) as server,
    ):
        keys = {"url": f"{server.url}/", "headers": SENT, "follow_redirects": True}
        assert (await look_http(context(), keys)).reason == "ok"
    names = {name.lower() for name in SENT}
    assert names <= server.asked[0].headers.keys()
    assert not names & other.asked[0].headers.keys()
    assert "the-" not in repr(other.asked)
