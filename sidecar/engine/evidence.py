"""What the evidence of a written row says now. Sidecar's own later sights are no evidence: they saw its own row."""

from collections.abc import Sequence
from decimal import Decimal

from sidecar.domain.credits import Anchor, Balance, LedgerRow, NoBalance, prove_balance
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Amount, Origin, Value
from sidecar.engine.work import Work


def proven_since(
    work: Work, row: PlanRow, anchors: Sequence[Anchor], ledger: Sequence[LedgerRow]
) -> Balance | NoBalance:
    """Prove a row's balance from the origin that it was planned from.

    A balance from the ledger is followed from the start. One from an anchor is followed from that anchor, or, where
    memory names a later one by now, from the planned balance at the instant of the plan.
    """
    rule = work.rule
    planned = amount_of(row.values.get(rule.balance_column))
    origin = origin_of(rule.balance_column, row)
    if origin is None or planned is None:
        return NoBalance.NO_EVIDENCE
    known = [anchor for anchor in anchors if anchor.origin is origin and anchor.at < work.run.started_at]
    if not known and origin is not Origin.LEDGER:
        known = [Anchor(origin=origin, balance=planned, at=work.plan.created_at)]
    return prove_balance((origin,), known, ledger, margin=rule.detect.min_age)


def amount_of(value: Value) -> Amount | None:
    """Return a money value, None for what is no exact number."""
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def origin_of(money: str, row: PlanRow) -> Origin | None:
    """Return where a planned balance came from; None where the plan does not say."""
    named = row.origins.get(money, "").removeprefix("balance:").partition(",")[0]
    return Origin(named) if named in {str(origin) for origin in Origin} else None
