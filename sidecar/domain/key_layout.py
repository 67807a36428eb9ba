"""Which gateway stands before a Supabase project, and whether what answers without a key is one at all.

Hosted, and self-hosted behind Kong: a JSON refusal. Self-hosted behind Envoy: the bare word "Unauthorized". The local
stack of the CLI has no gateway that asks for keys: PostgREST answers anon with its OpenAPI document. The last two are
no proof by themselves, and only believed on a host of one's own where Auth shows its public key set as well.
Source: docker/volumes/api of supabase/supabase and the gateway's template in supabase/cli.
"""

from enum import StrEnum

from sidecar.domain.key_evidence import Evidence, Step

OPEN_API = "application/openapi+json"


class Layout(StrEnum):
    """How a project is served."""

    HOSTED = "hosted"
    SELF_HOSTED = "self_hosted"
    LOCAL = "local"


def layout_of(evidence: Evidence) -> Layout | None:
    """Name the layout; None where nothing answered as a Supabase gateway does."""
    wire = evidence.wire
    if wire is None or not speaks_as_supabase(evidence):
        return None
    if evidence.lint.ref is not None or "sb-project-ref" in wire.headers or "sb-error-code" in wire.headers:
        return Layout.HOSTED
    return Layout.LOCAL if wire.status == 200 else Layout.SELF_HOSTED


def speaks_as_supabase(evidence: Evidence) -> bool:
    """Tell whether S1 was answered as a Supabase project answers a request without a key."""
    if evidence.wire is None:
        return False
    if _refuses_in_json(evidence.wire):
        return True
    return needs_key_set(evidence) and evidence.key_set is not None and evidence.key_set.matches


def needs_key_set(evidence: Evidence) -> bool:
    """Tell whether S1's answer is one that only a gateway of one's own gives, and so needs Auth to vouch for it."""
    wire = evidence.wire
    if wire is None or evidence.lint.ref is not None:
        return False
    is_envoy = wire.status == 401 and wire.media == "text/plain" and wire.message.strip() == "Unauthorized"
    return is_envoy or (wire.status == 200 and wire.media == OPEN_API)


def _refuses_in_json(wire: Step) -> bool:
    if wire.status != 401 or wire.is_html or wire.code.startswith("PGRST"):
        return False
    return wire.says("api key", "apikey") or "sb-error-code" in wire.headers
