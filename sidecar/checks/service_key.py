"""The kind `service_key`: prove that the service key bypasses RLS and that anon is kept out.

Makes the steps S0 to S6 of design 40-supabase.md C2 and leaves the judging to `sidecar.domain.service_key`. Each role
has a client of its own, so that no header of one can reach another. GET, never HEAD: a HEAD answer has no body to read.
"""

import hmac
import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from sidecar.checks.asking import Asker
from sidecar.checks.context import ProbeContext
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.key_evidence import Bypass, Evidence, Step, TableSight
from sidecar.domain.key_lint import KeyLint, lint
from sidecar.domain.reasons import ServiceKeyReason
from sidecar.domain.rule import Table
from sidecar.domain.service_key import is_gateway_refusal, judge
from sidecar.errors import AnswerMalformed
from sidecar.wire import Answer, key_headers, open_client

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
_FALLBACK_AFTER = frozenset({404, 500})  # no admin API here, or one that cannot read its own tables


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    """A row that must exist, that the service key must see and anon must not. `nonce` is the canary's, None without."""

    table: Table
    key: str
    value: int | str = field(repr=False)
    nonce: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKeySpec:
    """Parameters of one `service_key` check. `keys` names the key column of tables where it is not `id`."""

    tables: tuple[Table, ...]
    public_tables: tuple[Table, ...] = ()
    keys: Mapping[Table, str] = field(default_factory=dict)
    canary: KnownRow | None = None
    witness: KnownRow | None = None
    profiles: Table | None = None
    probe_rpc: str | None = "sidecar_rls_probe"
    expiring_days: int = 30


def _table_name(text: str) -> str:
    if not re.fullmatch(rf"{_IDENTIFIER}\.{_IDENTIFIER}", text):
        raise ValueError("must be a table with its schema, such as public.users")
    return text


def _identifier(text: str) -> str:
    if not re.fullmatch(_IDENTIFIER, text):
        raise ValueError("must be the name of a column or function")
    return text


def _table(text: str) -> Table:
    schema, _, name = text.partition(".")
    return Table(schema=schema, name=name)


TableName = Annotated[str, AfterValidator(_table_name)]
Identifier = Annotated[str, AfterValidator(_identifier)]


class _Keys(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class CanaryKeys(_Keys):
    """The fixture's canary row. An empty nonce is none."""

    table: TableName = "public.sidecar_canary"
    key: Identifier = "id"
    value: int | str = 1
    nonce: SecretStr | None = None


class WitnessKeys(_Keys):
    """A row of the product's own that must exist, where there is no fixture."""

    table: TableName
    key: Identifier = "id"
    value: int | str


class ServiceKeyKeys(_Keys):
    """The keys of a `service_key` check beside the common ones."""

    tables: Annotated[list[TableName], Field(min_length=1)]
    public_tables: list[TableName] = Field(default_factory=list)
    keys: dict[TableName, Identifier] = Field(default_factory=dict)
    canary: CanaryKeys | None = None
    witness: WitnessKeys | None = None
    profiles: TableName = "public.users"
    probe_rpc: Identifier | None = "sidecar_rls_probe"
    expiring_days: Annotated[int, Field(ge=0, le=3650)] = 30

    @model_validator(mode="after")
    def _fits(self) -> "ServiceKeyKeys":
        every = [*self.tables, *self.public_tables]
        if len(set(every)) != len(every):
            raise ValueError("tables and public_tables must name each table once")
        if self.canary is not None and self.witness is not None:
            raise ValueError("must have a canary or a witness, not both")
        row = self.canary or self.witness
        if row is not None and row.table in self.public_tables:
            raise ValueError("the canary or witness must not stand in a table that anon may read")
        return self

    def to_spec(self) -> ServiceKeySpec:
        """Return the frozen parameters."""
        canary, witness = self.canary, self.witness
        nonce = canary.nonce.get_secret_value() if canary is not None and canary.nonce is not None else None
        return ServiceKeySpec(
            tables=tuple(map(_table, self.tables)),
            public_tables=tuple(map(_table, self.public_tables)),
            keys={_table(name): column for name, column in self.keys.items()},
            canary=KnownRow(table=_table(canary.table), key=canary.key, value=canary.value, nonce=nonce or None)
            if canary
            else None,
            witness=KnownRow(table=_table(witness.table), key=witness.key, value=witness.value) if witness else None,
            profiles=_table(self.profiles),
            probe_rpc=self.probe_rpc,
            expiring_days=self.expiring_days,
        )


class ServiceKeyProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context

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
            evidence = await self._gather(spec, linted, started + check.timeout_seconds, phases)
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
        self, spec: ServiceKeySpec, linted: KeyLint, deadline: float, phases: dict[str, float]
    ) -> Evidence:
        context = self._context
        async with AsyncExitStack() as stack:

            async def asker(headers: Mapping[str, str]) -> Asker:
                client: httpx.AsyncClient = open_client(
                    context.supabase_url.rstrip("/"), headers=headers, verify=context.tls, keep_alive=True
                )
                return Asker(await stack.enter_async_context(client), context.clock, deadline, phases)

            # S1. What does not even refuse as Supabase does is not shown a key.
            wire, _ = await (await asker({})).ask("S1 wire", "/rest/v1/")
            by_witness = spec.canary is None and spec.witness is not None
            evidence = Evidence(lint=linted, wire=wire, profiles=spec.profiles, by_witness=by_witness)
            if not is_gateway_refusal(wire) or judge(evidence).reason is not ServiceKeyReason.UNKNOWN:
                return evidence
            service = await asker(key_headers(context.service_key.strip()))
            anon = None if linted.anon_fault else await asker(key_headers(context.anon_key.strip()))
            return await _ask_all(spec, evidence, service, anon)


async def _ask_all(spec: ServiceKeySpec, evidence: Evidence, service: Asker, anon: Asker | None) -> Evidence:
    row = spec.canary or spec.witness
    anon_canary = await _known_row("S2 canary as anon", anon, row) if anon and row else None
    service_canary = await _known_row("S3 canary as service", service, row) if row else None
    admin, _ = await service.ask("S4 admin users", "/auth/v1/admin/users", params={"page": "1", "per_page": "1"})
    root = None
    if admin.status in _FALLBACK_AFTER:
        root, _ = await service.ask("S4 root", "/rest/v1/")
    sights = []
    for table in (*spec.tables, *spec.public_tables):
        key = spec.keys.get(table, "id")
        seen = await _count(f"S5 {table} as service", service, table, key)
        seen_by_anon = await _count(f"S5 {table} as anon", anon, table, key) if anon else None
        is_public = table in spec.public_tables
        sights.append(TableSight(table=table, is_public=is_public, service=seen, anon=seen_by_anon))
    rpc, bypass = await _probe_function(spec, service)
    return replace(
        evidence,
        anon_canary=anon_canary,
        service_canary=service_canary,
        admin=admin,
        root=root,
        tables=tuple(sights),
        rpc=rpc,
        bypass=bypass,
    )


async def _known_row(name: str, asker: Asker, row: KnownRow) -> Step:
    """S2 and S3. Two rows are asked for, so that a second one would show."""
    columns = row.key if row.nonce is None else f"{row.key},nonce"
    params = {"select": columns, row.key: f"eq.{row.value}", "limit": "2"}
    step, answer = await asker.ask(name, _path(row.table), params=params, headers=_profile(row.table))
    return replace(step, matches=answer is not None and _is_row(answer, row))


def _is_row(answer: Answer, row: KnownRow) -> bool:
    body = _json(answer)
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        return False
    found = body[0]
    is_key = str(found.get(row.key)) == str(row.value)
    nonce = str(found.get("nonce", "")).encode("utf-8", "replace")
    return is_key and (row.nonce is None or hmac.compare_digest(nonce, row.nonce.encode()))


async def _count(name: str, asker: Asker, table: Table, key: str) -> Step:
    """S5."""
    headers = {**_profile(table), "Prefer": "count=exact"}
    step, _ = await asker.ask(name, _path(table), params={"select": key, "limit": "1"}, headers=headers)
    return step


async def _probe_function(spec: ServiceKeySpec, service: Asker) -> tuple[Step | None, Bypass | None]:
    """S6."""
    if spec.probe_rpc is None:
        return None, None
    tables = [*spec.tables, *spec.public_tables]
    step, answer = await service.ask(
        "S6 probe function",
        f"/rest/v1/rpc/{spec.probe_rpc}",
        method="POST",
        headers={"Content-Type": "application/json"},
        content=json.dumps({"t": [f"{_quoted(table.schema)}.{_quoted(table.name)}" for table in tables]}).encode(),
    )
    return step, _bypass(answer, len(tables)) if answer is not None and step.status == 200 else None


def _bypass(answer: Answer, tables: int) -> Bypass | None:
    """Read the function's answer; None unless it speaks of the role and of every table."""
    body = _json(answer)
    if not isinstance(body, dict) or not isinstance(body.get("tables"), dict):
        return None
    active = {str(name): f.get("active") if isinstance(f, dict) else None for name, f in body["tables"].items()}
    flags = {name: flag for name, flag in active.items() if isinstance(flag, bool)}
    user, bypass = body.get("user"), body.get("bypass")
    if not isinstance(user, str) or not isinstance(bypass, bool) or len(flags) != tables:
        return None
    return Bypass(user=user, bypass=bypass, active=flags)


def _quoted(identifier: str) -> str:
    """Quote where PostgreSQL would otherwise fold the case; identifiers hold no quotes, as the model sees to."""
    return identifier if identifier == identifier.lower() else f'"{identifier}"'


def _path(table: Table) -> str:
    return f"/rest/v1/{quote(table.name, safe='')}"


def _profile(table: Table) -> dict[str, str]:
    return {} if table.schema == "public" else {"Accept-Profile": table.schema}


def _json(answer: Answer) -> Any:  # noqa: ANN401  # JSON from outside
    try:
        return answer.json()
    except AnswerMalformed:
        return None


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
        "key_family": evidence.lint.family.value,
        "key_sha256": evidence.lint.digest,
        "rows_visible": visible,
        "steps": steps,
    }
