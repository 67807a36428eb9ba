"""What the evidence of a written row says now. Sidecar's own later sights are no evidence: they saw its own row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sidecar.domain.credits import Anchor, Balance, LedgerRow, prove_balance
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Amount, Origin, Value
from sidecar.engine.work import Work
from sidecar.ports import Data, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A balance that one reading of the evidence proves, and the ledger rows that were read."""

    amount: Amount
    ledger: Sequence[LedgerRow]


async def prove_now(state: State, data: Data, work: Work, rows: Sequence[PlanRow]) -> Mapping[str, Proven]:
    """Prove the balances of written rows anew, each from the origin that it was planned from; by key.

    An anchor counts as it was before the run. What is not proven, in one chain, is left out.
    """
    money, started_at = work.rule.balance_column, work.run.started_at
    origins = {row.key: origin for row in rows if (origin := origin_of(money, row)) is not None}
    if not origins:  # what no evidence was asked for is not proven anew
        return {}
    table = str(work.rule.detect.expects.table)
    known = {
        key: [anchor for anchor in anchors if anchor.at < started_at]
        for key, anchors in (await state.anchors(table, list(origins))).items()
    }
    late = [key for key, origin in origins.items() if not _has(origin, known.get(key, ()))]
    earlier = await state.anchors(table, late, before=started_at) if late else {}
    known |= {key: list(earlier.get(key, ())) for key in late}
    ledger = await data.ledger(work.rule, list(origins))
    proven: dict[str, Proven] = {}
    for row in rows:
        if (origin := origins.get(row.key)) is None:
            continue
        anchors = known.get(row.key, ())
        read = ledger.get(row.key, ())
        balance = prove_balance(
            (origin,), _or_planned(work, row, origin, anchors), read, margin=work.rule.detect.min_age
        )
        if isinstance(balance, Balance):
            proven[row.key] = Proven(amount=balance.amount, ledger=read)
    return proven


def _has(origin: Origin, anchors: Sequence[Anchor]) -> bool:
    return origin is Origin.LEDGER or any(anchor.origin is origin for anchor in anchors)


def _or_planned(work: Work, row: PlanRow, origin: Origin, anchors: Sequence[Anchor]) -> Sequence[Anchor]:
    """Follow on from the planned balance where memory has lost the anchor it was planned from."""
    planned = amount_of(row.values.get(work.rule.balance_column))
    if _has(origin, anchors) or planned is None:
        return anchors
    return (Anchor(origin=origin, balance=planned, at=work.plan.created_at),)


def amount_of(value: Value) -> Amount | None:
    """Return a money value, None for what is no exact number."""
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def origin_of(money: str, row: PlanRow) -> Origin | None:
    """Return where a planned balance came from; None where the plan does not say."""
    named = row.origins.get(money, "").removeprefix("balance:").partition(",")[0]
    return Origin(named) if named in {str(origin) for origin in Origin} else None
