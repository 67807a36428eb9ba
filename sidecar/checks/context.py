"""What every probe may need beside its check: time, addresses, keys, and whom to trust."""

import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from sidecar.checks.log_drain import LogDrain
from sidecar.checks.session import Sessions
from sidecar.ports import Clock
from sidecar.sights import Notebook
from sidecar.transport.resolving import Resolver
from sidecar.wire import RESOLVER


def _trust_public_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeContext:
    """Shared by all probes of a process. `tls` is made once: loading the authorities for each look would be slow.

    `notebook` is what probes remember over restarts; without one, nothing that must be remembered is done.
    `place` names this machine where others share the memory: its files are not theirs.
    What a probe opens and keeps is put onto `closing`, which the process closes at its end.
    """

    clock: Clock
    supabase_url: str = ""
    service_key: str = field(default="", repr=False)
    anon_key: str = field(default="", repr=False)
    backend_url: str | None = None
    database_url: str = field(default="", repr=False)
    notebook: Notebook | None = field(default=None, repr=False)
    drain: LogDrain = field(default_factory=lambda: LogDrain({}), repr=False)
    place: str = ""
    sessions: Sessions = field(default_factory=Sessions, repr=False)
    tls: ssl.SSLContext = field(default_factory=_trust_public_authorities, repr=False)
    resolver: Resolver = RESOLVER
    closing: AsyncExitStack = field(default_factory=AsyncExitStack, repr=False)
