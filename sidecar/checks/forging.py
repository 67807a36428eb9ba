"""Tokens that look like Supabase Auth's and that nobody of Supabase's signed. Who takes one checks no signature."""

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping

VALID_SECONDS = 3600


def forged_tokens(issuer: str, now_seconds: float) -> Mapping[str, str]:
    """Return tokens by how they are forged: signed with a key made just now, and with no signature at all.

    Claims are those of a signed-in user who does not exist: a wrong one would be refused for that, and prove nothing.
    """
    claims = {
        "iss": issuer,
        "sub": str(uuid.uuid4()),
        "aud": "authenticated",
        "role": "authenticated",
        "iat": int(now_seconds),
        "exp": int(now_seconds) + VALID_SECONDS,
        "session_id": str(uuid.uuid4()),
        "is_anonymous": False,
    }
    foreign = _unsigned("HS256", claims)
    signature = hmac.new(secrets.token_bytes(32), foreign.encode(), hashlib.sha256).digest()
    return {
        "a token signed with a foreign key": f"{foreign}.{_text(signature)}",
        "a token without a signature": f"{_unsigned('none', claims)}.",
    }


def _unsigned(algorithm: str, claims: Mapping[str, object]) -> str:
    return ".".join(_text(json.dumps(part).encode()) for part in ({"alg": algorithm, "typ": "JWT"}, claims))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
