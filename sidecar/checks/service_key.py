"""The kind `service_key`: prove that the service key bypasses RLS and that anon and signed-in users are kept out.

Makes the steps S0 to S8 of design 40-supabase.md C2 and leaves the judging to `sidecar.domain.service_key`. Each role
has a client of its own, so that no header of one can reach another. GET, never HEAD: a HEAD answer has no body to read.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from sidecar.checks.asking import Asker
from sidecar.checks.context import ProbeContext
from sidecar.checks.service_key_keys import ServiceKeySpec
from sidecar.checks.service_key_steps import count, json_of, known_row, probe_function
from sidecar.checks.service_key_user import Sessions, see_as_user
from sidecar.checks.service_key_write import Writes
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.key_evidence import Evidence, TableSight
from sidecar.domain.key_layout import layout_of, needs_key_set, speaks_as_supabase
from sidecar.domain.key_lint import KeyLint, lint
from sidecar.domain.reasons import ServiceKeyReason
from sidecar.domain.service_key import judge
from sidecar.wire import key_headers, open_client

_FALLBACK_AFTER = frozenset({404, 500})  # no admin API here, or one that cannot read its own tables


class ServiceKeyProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context
        self._sessions = Sessions(context.clock)
        self._writes = Writes(context.clock)

    async def __call__(self, check: Check) -> Observation:
        """Look once, within `check.timeout_seconds`."""
        spec = check.spec
        if not isinstance(spec, ServiceKeySpec):
            raise TypeError(type(spec).__name__)
        clock, context = self._context.clock, self._context
        taken_at, started = clock.now(), clock.monotonic()
        linted = lint(
            service_key=context.service_key,
            anon_key=context.anon_key,
            supabase_url=context.supabase_url,
            now=taken_at,
            expiring_days=spec.expiring_days,
        )
        phases: dict[str, float] = {}
        evidence = Evidence(lint=linted)
        if linted.fault is None:
            evidence = await self._gather(check.name, spec, linted, started + check.timeout_seconds, phases)
        judgement = judge(evidence)
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=judgement.reason.verdict,
            reason=judgement.reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=judgement.detail,
            notes=tuple(note.value for note in judgement.notes),
            phases=phases,
            facts=_facts(evidence),
            retry_after_seconds=max((s.retry_after_seconds or 0.0 for s in evidence.steps()), default=0.0) or None,
            expires_at=linted.expires_at,
        )

    async def _gather(
        self, name: str, spec: ServiceKeySpec, linted: KeyLint, deadline: float, phases: dict[str, float]
    ) -> Evidence:
        context = self._context

        @asynccontextmanager
        async def opened(headers: Mapping[str, str]) -> AsyncIterator[Asker]:
            root = context.supabase_url.rstrip("/")
            async with open_client(root, headers=headers, verify=context.tls, keep_alive=True) as client:
                yield Asker(client, context.clock, deadline, phases)

        async with AsyncExitStack() as stack:
            # S1. What does not answer as Supabase does is not shown a key.
            evidence = await _first(spec, linted, await stack.enter_async_context(opened({})))
            if not speaks_as_supabase(evidence) or judge(evidence).reason is not ServiceKeyReason.UNKNOWN:
                return evidence
            service_key, anon_key = context.service_key.strip(), context.anon_key.strip()
            service = await stack.enter_async_context(opened(key_headers(service_key)))
            anon = None
            if not linted.anon_fault:
                anon = await stack.enter_async_context(opened(key_headers(anon_key)))
            evidence = await _ask_all(spec, evidence, service, anon)
            if spec.user is not None and anon is not None:
                user = await see_as_user(
                    name,
                    spec,
                    spec.user,
                    self._sessions,
                    anon,
                    lambda bearer: opened({"apikey": anon_key, **bearer}),
                    lambda bearer: opened({"apikey": service_key, **bearer}),
                )
                evidence = replace(evidence, user=user)
            if spec.write is not None and spec.canary is not None:
                written = await self._writes.make(name, spec.canary, spec.write, service, anon)
                evidence = replace(evidence, write=written)
            return evidence


async def _first(spec: ServiceKeySpec, linted: KeyLint, nobody: Asker) -> Evidence:
    """S1, without any key."""
    wire, _ = await nobody.ask("S1 wire", "/rest/v1/")
    by_witness = spec.canary is None and spec.witness is not None
    evidence = Evidence(lint=linted, wire=wire, profiles=spec.profiles, by_witness=by_witness)
    if not needs_key_set(evidence):
        return evidence
    step, answer = await nobody.ask("S1 key set", "/auth/v1/.well-known/jwks.json")
    body = json_of(answer) if answer is not None else None
    vouches = step.status == 200 and isinstance(body, dict) and isinstance(body.get("keys"), list)
    return replace(evidence, key_set=replace(step, matches=vouches))


async def _ask_all(spec: ServiceKeySpec, evidence: Evidence, service: Asker, anon: Asker | None) -> Evidence:
    row = spec.canary or spec.witness
    anon_canary = await known_row("S2 canary as anon", anon, row) if anon and row else None
    service_canary = await known_row("S3 canary as service", service, row) if row else None
    admin, _ = await service.ask("S4 admin users", "/auth/v1/admin/users", params={"page": "1", "per_page": "1"})
    root, anon_root = None, None
    if admin.status in _FALLBACK_AFTER:
        root, _ = await service.ask("S4 root", "/rest/v1/")
        anon_root, _ = await anon.ask("S4 root as anon", "/rest/v1/") if anon else (None, None)
    sights = []
    for table in (*spec.tables, *spec.public_tables):
        key = spec.keys.get(table, "id")
        seen = await count(f"S5 {table} as service", service, table, key)
        seen_by_anon = await count(f"S5 {table} as anon", anon, table, key) if anon else None
        is_public = table in spec.public_tables
        sights.append(TableSight(table=table, is_public=is_public, service=seen, anon=seen_by_anon))
    rpc, bypass = await probe_function(spec, service)
    return replace(
        evidence,
        anon_canary=anon_canary,
        service_canary=service_canary,
        admin=admin,
        root=root,
        anon_root=anon_root,
        tables=tuple(sights),
        rpc=rpc,
        bypass=bypass,
    )


def _facts(evidence: Evidence) -> dict[str, JSON]:
    """Tell what was seen in counts and codes. The key shows only as the first digits of its hash."""
    visible: dict[str, JSON] = {}
    for sight in evidence.tables:
        if sight.service.is_read:
            visible[f"{sight.table}|service"] = sight.service.visible
        if sight.anon is not None and (sight.anon.is_read or sight.anon.is_denied):
            visible[f"{sight.table}|anon"] = sight.anon.visible
    steps: list[JSON] = [str(step) for step in evidence.steps()]
    return {
        "layout": layout_of(evidence),
        "key_family": evidence.lint.family.value,
        "key_sha256": evidence.lint.digest,
        "rows_visible": visible,
        "steps": steps,
    }
