"""What the parts of a rule must have to do with each other. Reads the document, so that one problem hides no other."""

from collections.abc import Mapping
from dataclasses import replace

from sidecar.config.document import Document, Plain
from sidecar.config.problems import Problems, suggest

SERVICE_KEY_KIND = "service_key"
BOUNDS_OF_REPAIRS = ("max_rows", "max_percent", "max_rows_per_day", "triggers_reviewed", "signals")

# Supabase's own schemas: a row inserted there would bypass its services.
_PROTECTED = frozenset(
    {"auth", "storage", "realtime", "vault", "extensions", "graphql", "graphql_public", "pgsodium", "cron", "net"}
    | {"supabase_functions", "supabase_migrations", "information_schema"}
)


def judge_rule(document: Document, name: str, kinds_of_checks: Mapping[str, str] | None, problems: Problems) -> None:
    """Note what does not fit together. `name` is the file's; `kinds_of_checks` is None while no check can be read."""
    _judge_name(document, name, problems)
    _judge_target(document, problems)
    _judge_key(document, problems)
    _judge_money(document, problems)
    _judge_origins(document, problems)
    _judge_constants(document, problems)
    _judge_defaults(document, problems)
    _judge_automation(document, problems)
    _judge_windows(document, problems)
    _judge_rows(document, problems)
    if kinds_of_checks is not None:
        _judge_required(document, kinds_of_checks, problems)


def without_repair(document: Document, kind: str, problems: Problems) -> Document:
    """Return a reporting rule without what only a repair has, after saying so in words of its own."""
    data, guard = document.mapping_at(), document.mapping_at("guard")
    barred = [(key,) for key in ("repair", "verify") if key in data]
    for path in barred:
        problems.add_key(document, path, f"is nothing for {kind}, which only reports", "take it out")
    bounds = [key for key in guard if key in BOUNDS_OF_REPAIRS]
    for key in bounds:
        problems.add_key(document, ("guard", key), f"bounds a repair, and {kind} only reports", "take it out")
    if document.at("mode") in ("approve", "auto"):
        problems.add(document, ("mode",), f"must be observe: {kind} only reports")
    kept: dict[str, Plain] = {key: value for key, value in data.items() if (key,) not in barred}
    if bounds:
        kept["guard"] = {key: value for key, value in guard.items() if key not in bounds}
    return replace(document, data=kept if data else document.data)


def _judge_name(document: Document, name: str, problems: Problems) -> None:
    found = document.at("rule")
    if isinstance(found, str) and found and found != name:
        problems.add(document, ("rule",), "must equal the file's name", f"write rule: {name}, or rename the file")


def _judge_target(document: Document, problems: Problems) -> None:
    path = ("detect", "expects", "table")
    target = document.at(*path)
    if not isinstance(target, str):
        return
    schema = target.partition(".")[0].lower()
    if schema in _PROTECTED or schema.startswith("pg_"):
        problems.add(
            document, path, "must not be a table of Supabase or PostgreSQL itself", "Sidecar never writes there"
        )
    elif target in (document.at("detect", "evidence", "table"), document.at("detect", "evidence", "without", "table")):
        problems.add(document, path, "must not be the table that the evidence stands in", "a repair would forge it")


def _judge_rows(document: Document, problems: Problems) -> None:
    """Keep a report from comparing rows with themselves, which would find nothing for ever."""
    table, key = document.at("detect", "rows", "table"), document.at("detect", "rows", "key")
    if not isinstance(table, str):
        return
    if table == document.at("detect", "evidence", "table"):
        path = ("detect", "evidence", "table")
        problems.add(document, path, "must not be the table of the rows", "it would vouch for itself")
    if (table, key) == (document.at("detect", "parent", "table"), document.at("detect", "parent", "key")):
        path = ("detect", "parent", "key")
        problems.add(document, path, "must not be the column that refers to it", "every row would be its own parent")


def _judge_key(document: Document, problems: Problems) -> None:
    key = document.at("detect", "expects", "key")
    values = document.at("repair", "values")
    if not isinstance(key, str) or not isinstance(values, dict):
        return
    path = ("repair", "values", key)
    if key not in values:
        hint = f"add {key}: {{subject: id}}"
        problems.add(document, ("repair", "values"), f"must give {key}, the key of the expected row", hint)
    elif document.at(*path, "subject") != "id":
        problems.add(document, path, "is the key of the expected row and must be the subject's", "{subject: id}")
    elif _is_null(document.mapping_at(*path)):
        problems.add(document, (*path, "on_missing"), "must not be null for the key of the row", "leave it out")


def _judge_money(document: Document, problems: Problems) -> None:
    values = document.mapping_at("repair", "values")
    money = [column for column in document.list_at("repair", "money") if isinstance(column, str)]
    for position, column in enumerate(money):
        if column not in values:
            message = "must be among repair.values, with a proven balance"
            problems.add(document, ("repair", "money", position), message, suggest(column, values))
        elif "balance" not in document.mapping_at("repair", "values", column):
            hint = "{balance: [attested, snapshot, ledger], on_missing: quarantine}"
            message = "is money: its only source can be a proven balance"
            problems.add(document, ("repair", "values", column), message, hint)
    for column in values:
        source = document.mapping_at("repair", "values", column)
        if "balance" not in source:
            continue
        path = ("repair", "values", column)
        if column not in money:
            problems.add(document, path, "holds a balance and is not named in repair.money", "name it there")
        if _is_null(source):
            hint = "quarantine: a person decides"
            problems.add(document, (*path, "on_missing"), "must not be null for money", hint)


def _judge_origins(document: Document, problems: Problems) -> None:
    """Keep the ledger out of what rests on Supabase Auth: users with movements are another rule's."""
    if "auth" not in document.mapping_at("detect", "evidence"):
        return
    for column in document.mapping_at("repair", "values"):
        path = ("repair", "values", column, "balance")
        for position, origin in enumerate(document.list_at(*path)):
            if origin == "ledger":
                message = "must not be ledger: the evidence of this rule is Supabase Auth, which records no movements"
                problems.add(document, (*path, position), message, "[attested, snapshot]")


def _is_null(source: Mapping[str, Plain]) -> bool:
    return "on_missing" in source and source["on_missing"] is None


def _judge_constants(document: Document, problems: Problems) -> None:
    marked = []
    for column, source in document.mapping_at("repair", "values").items():
        if not isinstance(source, dict) or "const" not in source or "plan" not in source:
            continue
        path = ("repair", "values", column)
        marked.append(path)
        if not isinstance(source["const"], dict):
            hint = "the plan's id is written into the constant"
            problems.add(document, (*path, "const"), "must be a mapping when plan is given", hint)
        elif isinstance(source["plan"], str) and source["plan"] in source["const"]:
            problems.add(document, (*path, "plan"), "is a key of the constant already", "choose another key")
    for path in marked[1:]:
        problems.add(document, (*path, "plan"), "is given for a second column", "one column names the plan")


def _judge_defaults(document: Document, problems: Problems) -> None:
    values = document.mapping_at("repair", "values")
    money: list[Plain] = document.list_at("repair", "money")
    for position, column in enumerate(document.list_at("repair", "defaults_accepted")):
        path = ("repair", "defaults_accepted", position)
        if column in money:
            problems.add(document, path, "is money, and money is never a column default", "take it out")
        elif isinstance(column, str) and column in values:
            problems.add(document, path, "is written by repair.values, so its default never counts", "take it out")


def _judge_automation(document: Document, problems: Problems) -> None:
    if document.at("mode") != "auto":
        return
    for part in ("evidence", "expects"):
        section = document.at("detect", part)
        if isinstance(section, dict) and section.get("created") is None and "auth" not in section:
            message = "must name its created column while mode is auto"
            problems.add(document, ("detect", part, "created"), message, "or use mode: approve")


def _judge_windows(document: Document, problems: Problems) -> None:
    windows = document.list_at("verify", "again_after")
    for position, window in enumerate(windows):
        if window in windows[:position]:
            problems.add(document, ("verify", "again_after", position), "is given twice", "take one out")


def _judge_required(document: Document, kinds_of_checks: Mapping[str, str], problems: Problems) -> None:
    path = ("guard", "require_checks")
    names = [name for name in document.list_at(*path) if isinstance(name, str)]
    for position, name in enumerate(names):
        if name not in kinds_of_checks:
            problems.add(document, (*path, position), "is no configured check", suggest(name, kinds_of_checks))
    if names and all(kinds_of_checks.get(name, SERVICE_KEY_KIND) != SERVICE_KEY_KIND for name in names):
        proofs = [name for name, kind in kinds_of_checks.items() if kind == SERVICE_KEY_KIND]
        hint = f"add {proofs[0]}" if proofs else "configure a check of that kind"
        problems.add(document, path, "must name a check of kind service_key: without its proof a read may lie", hint)
