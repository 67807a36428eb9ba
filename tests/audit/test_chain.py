"""What each part of the verification is there for, and that a chain as it was written always holds."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.audit import (
    AuditRow,
    Chain,
    ChainBroken,
    ChainHolds,
    Flaw,
    Head,
    finish,
    follow,
    just_before,
    keep,
    row_hash,
)
from sidecar.domain.plan import canonical
from tests.audit.cast import TEXTS, chained, head_of, judged, numbered, sealed, with_value

AT = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
INSTANTS = st.datetimes(timezones=st.just(UTC))


def row(seq: int, actor: str = "olga") -> AuditRow:
    return AuditRow(
        seq=seq, at=AT, actor=actor, verb="freeze.set", subject="r", details="{}", prev_hash=None, hash=None
    )


def written(count: int) -> list[AuditRow]:
    return chained(row(seq) for seq in range(1, count + 1))


CONTENTS = st.builds(
    AuditRow,
    seq=st.just(0),
    at=INSTANTS,
    actor=WORDS,
    verb=WORDS,
    subject=WORDS,
    details=WORDS,
    prev_hash=st.none(),
    hash=st.none(),
)
CHAINS = st.lists(CONTENTS, min_size=1, max_size=12).map(lambda contents: chained(numbered(contents)))


def flaw(found: ChainHolds | ChainBroken) -> tuple[int, Flaw, int] | None:
    return (found.seq, found.flaw, found.rows) if isinstance(found, ChainBroken) else None


@given(CHAINS, st.data())
def test_an_untouched_chain_always_holds_against_any_of_its_heads_and_from_any_row_on(
    rows: list[AuditRow], data: st.DataObject
) -> None:
    heads = [head_of(kept) for kept in data.draw(st.lists(st.sampled_from(rows), max_size=4))]
    assert judged(rows, heads) == ChainHolds(rows=len(rows), head=head_of(rows[-1]))
    start = data.draw(st.integers(0, len(rows) - 1))
    chain: Chain | ChainBroken = just_before(head_of(rows[start]))
    for each in rows[start:]:
        assert isinstance(chain, Chain)
        chain = follow(chain, each, keep([head_of(rows[start])]))
    assert isinstance(chain, Chain)
    assert finish(chain, {}) == ChainHolds(rows=len(rows) - start, head=head_of(rows[-1]))


@given(CHAINS, st.data())
def test_any_other_value_in_any_column_of_any_row_is_found_there(rows: list[AuditRow], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    was = rows[place]
    column = data.draw(st.sampled_from([*TEXTS, "at"]))
    value = data.draw(st.none() | INSTANTS) if column == "at" else data.draw(st.none() | WORDS)
    forged = with_value(was, column, value)
    found = judged([*rows[:place], forged, *rows[place + 1 :]])
    assert flaw(found) == (None if forged == was else (was.seq, Flaw.ROW_CHANGED, place))


@given(CONTENTS)
def test_a_rows_hash_is_that_of_its_canonical_json(row: AuditRow) -> None:
    assert row_hash(row.content()) == hashlib.sha256(canonical(row.content()).encode()).hexdigest()


def test_an_edited_row_is_found_by_its_hash() -> None:
    rows = written(5)
    rows[4] = replace(rows[4], actor="mallory")  # the last one, which no later row links to
    assert flaw(judged(rows)) == (5, Flaw.ROW_CHANGED, 4)


def test_an_edited_row_whose_hash_was_made_to_fit_is_found_by_the_link_of_the_next() -> None:
    rows = written(5)
    rows[2] = sealed(replace(rows[2], actor="mallory"))
    assert flaw(judged(rows)) == (4, Flaw.LINK_BROKEN, 3)


def test_a_chain_that_does_not_begin_at_the_beginning_is_found_by_its_first_link() -> None:
    rows = numbered(written(5)[2:])
    assert flaw(judged(chained(rows, prev_hash="f" * 64))) == (1, Flaw.LINK_BROKEN, 0)


def test_rows_taken_out_of_a_chain_that_was_then_made_to_fit_are_found_by_the_numbers() -> None:
    rows = written(9)
    found = judged(chained([*rows[:3], *rows[6:]]))
    assert flaw(found) == (4, Flaw.ROW_MISSING, 3)
    assert "it and the rows up to 6 are missing: the next one is row 7" in str(found)
    assert "it is missing: the next one is row 2" in str(judged(chained(rows[1:])))


def test_a_row_put_in_where_the_chain_was_then_made_to_fit_is_found_by_the_numbers() -> None:
    rows = written(5)
    assert flaw(judged(chained([*rows[:3], row(3, "mallory"), *rows[3:]]))) == (3, Flaw.ROW_MISPLACED, 3)
    assert flaw(judged(chained([row(0, "mallory"), *rows]))) == (0, Flaw.ROW_MISPLACED, 0)


def test_a_chain_written_anew_is_found_by_a_kept_head_and_by_nothing_else() -> None:
    rows = written(6)
    anew = chained([*rows[:2], replace(rows[2], actor="mallory"), *rows[3:]])
    assert flaw(judged(anew)) is None
    assert flaw(judged(anew, [head_of(rows[1])])) is None, "a head vouches for the rows up to it alone"
    assert flaw(judged(anew, [head_of(rows[4])])) == (5, Flaw.REWRITTEN, 4)


def test_a_cut_tail_is_found_by_a_kept_head_and_by_nothing_else() -> None:
    rows = written(6)
    assert flaw(judged(rows[:4])) is None
    assert flaw(judged(rows[:4], [head_of(rows[3])])) is None
    assert flaw(judged(rows[:4], [head_of(rows[0]), head_of(rows[4])])) == (5, Flaw.TAIL_CUT, 4)


def test_an_emptied_table_is_found_by_a_kept_head_and_vouches_for_nothing_without() -> None:
    assert judged([]) == ChainHolds(rows=0, head=None)
    assert flaw(judged([], [head_of(written(1)[0])])) == (1, Flaw.EMPTIED, 0)


def test_two_heads_that_disagree_on_one_row_cannot_both_hold() -> None:
    rows = written(3)
    assert flaw(judged(rows, [head_of(rows[1]), Head(2, "0" * 64)])) == (2, Flaw.REWRITTEN, 1)
