"""Replay recorded exchanges against a server. The tokens and the comparison are those of the recording."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sidecar.demo.standin import sign

SECRET = "a-private-test-secret-of-at-least-32-characters"
ALICE = "00000000-0000-4000-8000-000000000001"
EXCHANGES = Path(__file__).parent.parent / "data" / "postgrest" / "exchanges.jsonl"
HEADERS = ("content-type", "content-range", "preference-applied", "location", "www-authenticate")


def exchanges() -> list[dict[str, Any]]:
    return [json.loads(line) for line in EXCHANGES.read_text().splitlines() if line.strip()]


def bearer(kind: str | None) -> str | None:
    """Return the token that an exchange names."""
    now = int(time.time())
    match kind:
        case None:
            return None
        case "alice":
            return sign({"role": "authenticated", "sub": ALICE, "exp": now + 600}, SECRET)
        case "expired":
            return sign({"role": "service_role", "exp": now - 600}, SECRET)
        case "not_yet":
            return sign({"role": "service_role", "exp": now + 900, "nbf": now + 600}, SECRET)
        case "forged":
            return sign({"role": "service_role", "exp": now + 600}, "another-secret-of-at-least-32-characters")
        case "garbage":
            return "not.a.token"
        case "no_role":
            return sign({"exp": now + 600}, SECRET)
        case "unknown_role":
            return sign({"role": "nobody_here", "exp": now + 600}, SECRET)
        case role:
            return sign({"role": role, "exp": now + 600}, SECRET)


def answer(root: str, exchange: dict[str, Any]) -> dict[str, Any]:
    """Send one recorded request byte for byte, which httpx would not: it escapes paths its own way."""
    headers = dict(exchange.get("headers", {}))
    token = bearer(exchange.get("as"))
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = exchange.get("body")
    data = None
    if body is not None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    url, method = root + exchange["path"], exchange["method"]
    call = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(call, timeout=30) as reply:  # noqa: S310 - our own address
            status, got, raw = reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            status, got, raw = error.code, error.headers, error.read()
    return {"status": status, "headers": {name: got[name] for name in HEADERS if got[name]}, "body": parsed(raw)}


def parsed(raw: bytes) -> object:
    text = raw.decode()
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
