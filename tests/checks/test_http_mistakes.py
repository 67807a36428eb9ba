"""Each mistake in an `http` check, with its place and the exact words that a person reads about it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sidecar.checks.kinds import KINDS
from sidecar.config.check_remarks import check_remarks
from sidecar.config.load import load_text
from sidecar.config.settings import Config
from sidecar.errors import ConfigError
from tests.checks.hostile.servers import authority
from tests.config.kinds import ENVIRON

MODELS = {name: kind.model for name, kind in KINDS.items()}
SECRET = "a-secret-nobody-may-see"
AROUND = """\
supabase: {url: "https://project.supabase.co", service_key: x, anon_key: x}
checks:
  - name: health
    kind: http
    url: https://backend.example/health
"""


def load(own: str, folder: Path = Path()) -> Config:
    lines = "".join(f"    {line}\n" for line in own.splitlines())
    return load_text(AROUND + lines, {}, MODELS, {**ENVIRON, "TOKEN": SECRET}, folder=folder)


def mistakes(own: str, folder: Path = Path()) -> str:
    with pytest.raises(ConfigError) as caught:
        load(own, folder)
    assert SECRET not in str(caught.value)
    return "\n".join(str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("family: ipv5", "6:13 family: must be one of any, ipv4, ipv6 (did you mean ipv6?)"),
        ("proxy: socks5://h", "6:12 proxy: must be http://[user:password@]host[:port]"),
        ("proxy: http://u:${TOKEN}@h:port/", "6:12 proxy: must be http://[user:password@]host[:port]"),
        ("keep_alive: true\nfamily: ipv4", "6:17 keep_alive: goes neither with proxy nor with family"),
        ("keep_alive: true\nproxy: http://h", "6:17 keep_alive: goes neither with proxy nor with family"),
        ("keep_alive: maybe", "6:17 keep_alive: must be true or false"),
        ("max_redirects: 3", "6:20 max_redirects: means nothing without follow_redirects: true"),
        ("auth: {}", "6:11 auth: must have either basic or bearer"),
        (
            "auth: {bearer: x, basic: {username: a, password: b}}",
            "6:11 auth: must have either basic or bearer",
        ),
        ("auth: {bearer: ''}", "6:20 auth.bearer: must not be empty"),
        (
            "auth: {bearer: 'Bearer ${TOKEN}'}",
            "6:20 auth.bearer: must be a token of printable ASCII without blanks, and without the word Bearer",
        ),
        (
            "auth: {bearer: file:nowhere}",
            "6:20 auth.bearer: the file cannot be read: No such file or directory",
        ),
        ("auth: {basic: {username: 'a:b', password: x}}", "6:30 auth.basic.username: must hold no colon"),
        ("auth: {basic: {username: a}}", "6:19 auth.basic.password: is missing"),
        ("auth: {token: x}", "6:12 auth.token: is not a known key (known here: basic, bearer)"),
        (
            "auth: {bearer: x}\nheaders: {authorization: '${TOKEN}'}",
            "7:14 headers: must hold no Authorization beside auth; keep one of them",
        ),
        (
            "cors: {allowed_origin: 'https://a.test'}\nfollow_redirects: true",
            "7:23 follow_redirects: means nothing beside cors, which judges the first answer",
        ),
        (
            "auth_required: {openapi: https://b.test/o}\nfollow_redirects: true",
            "7:23 follow_redirects: means nothing beside auth_required, which judges the first answer",
        ),
        (
            "auth_required: {openapi: https://b.test/o}\nheaders: {authorization: '${TOKEN}'}",
            "7:14 headers: must hold no Authorization and no Cookie beside auth_required, which asks as a stranger",
        ),
        (
            "cors: {allowed_origin: 'https://a.test'}\nheaders: {Cookie: '${TOKEN}'}",
            "7:14 headers: must hold no Authorization and no Cookie beside cors, which asks as a stranger",
        ),
        (
            "cors: {allowed_origin: 'https://a.test'}\nheaders: {ORIGIN: 'https://b.test'}",
            "7:14 headers: must hold no Origin and no Access-Control header beside cors, which sends its own",
        ),
        (
            "auth_required: {authorised: {bearer: x}}\nmethod: DELETE",
            "7:13 method: must be GET or HEAD beside auth_required.authorised: that call would do what it says",
        ),
        ("headers: {X-A: a, x-a: b}", "6:14 headers: names x-a twice"),
        (
            "tls: {ca_file: nowhere.pem}",
            "6:20 tls.ca_file: the file cannot be read: No such file or directory",
        ),
        ("tls: {ca_file: .}", "6:20 tls.ca_file: the file cannot be read: Is a directory"),
        ("tls: {ca_file: text}", "6:20 tls.ca_file: the file holds no certificate in PEM form"),
        ("tls: {verify: false, ca_file: text}", "6:35 tls.ca_file: means nothing with verify: false"),
        ("tls: {client_key_file: text}", "6:28 tls.client_key_file: needs client_certificate_file"),
        (
            "tls: {client_certificate_file: text}",
            "6:10 tls: client_certificate_file holds no unencrypted key of that certificate",
        ),
        (
            "tls: {client_certificate_file: ours.pem, client_key_file: other.key}",
            "6:10 tls: client_key_file holds no unencrypted key of that certificate",
        ),
        ("tls: {server_name: 'a b'}", "6:24 tls.server_name: must be a host name"),
        ("tls: {verify: 'no'}", "6:19 tls.verify: must be true or false"),
        ("tls: {very: false}", "6:11 tls.very: is not a known key (did you mean verify?)"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, own: str, words: str) -> None:
    (tmp_path / "text").write_text(SECRET)
    authority().issue_cert("a.test").cert_chain_pems[0].write_to_path(tmp_path / "ours.pem")
    authority().issue_cert("b.test").private_key_pem.write_to_path(tmp_path / "other.key")
    place, _, message = words.partition(" ")
    assert mistakes(own, tmp_path) == f"sidecar.yaml:{place}: checks[0].{message}"


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    ours = authority().issue_cert("a.test")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "ours.pem")
    key = load_pem_private_key(ours.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.key").write_bytes(locked)
    told = mistakes("tls: {client_certificate_file: ours.pem, client_key_file: locked.key}", tmp_path)
    assert told == "sidecar.yaml:6:10: checks[0].tls: client_key_file holds no unencrypted key of that certificate"


def test_files_are_found_beside_the_configuration_and_nothing_of_them_is_shown(tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "token").write_text(SECRET)
    config = load("tls: {ca_file: ca.pem}\nauth: {bearer: file:token}\nproxy: 'http://u:${TOKEN}@h'", tmp_path)
    assert SECRET not in repr(config)
    assert remarks(config) == []


def test_who_verifies_nothing_hears_of_it() -> None:
    assert remarks(load("tls: {verify: false}")) == [
        "health: tls.verify is false, so anybody may answer in its target's name"
    ]


def remarks(config: Config) -> list[str]:
    return check_remarks(config, datetime(2026, 11, 28, tzinfo=UTC))
