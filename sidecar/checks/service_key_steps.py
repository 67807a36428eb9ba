"""The reads of a `service_key` check: the steps S2 to S6 of design 40-supabase.md C2, one request each."""

import hmac
import json
from dataclasses import replace
from typing import Any

from sidecar.checks.asking import Asker
from sidecar.checks.service_key_keys import KnownRow, ServiceKeySpec
from sidecar.checks.tables import path_of, read_profile
from sidecar.domain.key_evidence import Bypass, Step
from sidecar.domain.rule import Table
from sidecar.errors import AnswerMalformed
from sidecar.wire import Answer


async def known_row(name: str, asker: Asker, row: KnownRow) -> Step:
    """S2 and S3: the row that must exist. Two rows are asked for, so that a second one would show."""
    columns = row.key if row.nonce is None else f"{row.key},nonce"
    params = {"select": columns, row.key: f"eq.{row.value}", "limit": "2"}
    step, answer = await asker.ask(name, path_of(row.table), params=params, headers=read_profile(row.table))
    return replace(step, matches=answer is not None and _is_row(answer, row))


def _is_row(answer: Answer, row: KnownRow) -> bool:
    body = json_of(answer)
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        return False
    found = body[0]
    is_key = str(found.get(row.key)) == str(row.value)
    nonce = str(found.get("nonce", "")).encode("utf-8", "replace")
    return is_key and (row.nonce is None or hmac.compare_digest(nonce, row.nonce.encode()))


async def count(name: str, asker: Asker, table: Table, key: str) -> Step:
    """S5: one row of a table, and how many there are."""
    headers = {**read_profile(table), "Prefer": "count=exact"}
    step, _ = await asker.ask(name, path_of(table), params={"select": key, "limit": "1"}, headers=headers)
    return step


async def probe_function(spec: ServiceKeySpec, service: Asker) -> tuple[Step | None, Bypass | None]:
    """S6: ask the database who is asking, and whether row level security applies."""
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
    body = json_of(answer)
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


def json_of(answer: Answer) -> Any:  # noqa: ANN401  # JSON from outside
    """Return the body as JSON, None when it is none."""
    try:
        return answer.json()
    except AnswerMalformed:
        return None
