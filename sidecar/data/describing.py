"""What the REST path would send for a rule, as text for people: no values, no keys."""

from urllib.parse import quote

from sidecar.domain.rule import Rule, Table
from sidecar.ports import Description

PREFER = "resolution=ignore-duplicates,return=representation"
HORIZON = "{server time - min_age}"


def describe_requests(rule: Rule) -> Description:
    """List the requests of a look and of a write, parameters not filled in."""
    expects, movements = rule.detect.expects, rule.detect.movements
    requests = []
    if movements is not None:
        tie = movements.order[-1]
        select = ",".join(dict.fromkeys((movements.key, tie)))
        upto = "" if movements.created is None else f"&and=(or({movements.created}.lte.{HORIZON},...))"
        requests.append(
            f"GET {_path(movements.table)}?select={select}&order={movements.key},{tie}{upto}&limit={{page}}"
        )
        columns = ",".join(dict.fromkeys((movements.key, *movements.order, movements.amount, movements.balance)))
        requests.append(f"GET {_path(movements.table)}?select={columns}&{movements.key}=in.({{keys}})")
    money = rule.balance_column
    requests += [
        f"GET {_path(expects.table)}?select={expects.key},{money}&order={expects.key}&limit={{page}}",
        "GET /auth/v1/admin/users/{key}",
        f"POST {_path(expects.table)}?columns={','.join(rule.repair.values)}  Prefer: {PREFER}",
    ]
    return Description(sql=tuple(requests), explain="")


def _path(table: Table) -> str:
    """Return the path; PostgREST takes the schema from a header."""
    schema = "" if table.schema == "public" else f" (schema {table.schema})"
    return f"/rest/v1/{quote(table.name, safe='')}{schema}"
