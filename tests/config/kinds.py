"""Two tiny check kinds: the loader is handed the real ones, and must not know them."""

from collections.abc import Mapping
from typing import Annotated

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict


def _condition(text: str) -> str:
    if text.endswith("=="):
        message = f"{text!r} is no condition"
        raise ValueError(message)
    return text


class HttpKind(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    follow_redirects: bool = False
    body_bytes_at_most: int = 1_000_000
    expect: tuple[Annotated[str, AfterValidator(_condition)], ...] = ()

    def to_spec(self) -> object:
        return self


class CanaryPart(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nonce: str = ""


class ServiceKeyKind(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tables: tuple[str, ...]
    public_tables: tuple[str, ...] = ()
    canary: CanaryPart = CanaryPart()

    def to_spec(self) -> object:
        return self


KINDS: Mapping[str, type[pydantic.BaseModel]] = {"http": HttpKind, "service_key": ServiceKeyKind}
ENVIRON: Mapping[str, str] = {
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_neverSHOWthis",
    "SUPABASE_ANON_KEY": "sb_publishable_norTHIS",
    "BACKEND_URL": "http://127.0.0.1:8000/",
}

MINIMAL = """\
supabase:
  url: ${SUPABASE_URL}
  service_key: ${SUPABASE_SERVICE_ROLE_KEY}
  anon_key: ${SUPABASE_ANON_KEY}
checks:
  - name: service-key
    kind: service_key
    tables: [public.users]
  - name: backend-health
    kind: http
    url: http://127.0.0.1:8000/health
"""
