"""The chain as a person reads it: each movement with how it stands to the one before."""

from dataclasses import replace

from sidecar.domain.chain import Link, walk
from tests.domain.cast import chain, ledger_row


def test_a_whole_chain_opens_at_zero_and_follows() -> None:
    assert [movement.link for movement in walk(chain(1000, 200, -300))] == [Link.OPENS, Link.FOLLOWS, Link.FOLLOWS]


def test_movements_are_told_in_the_order_of_their_instants() -> None:
    rows = chain(1000, 200, -300)

    assert [movement.row for movement in walk(rows[::-1])] == list(rows)


def test_a_break_names_the_balance_that_would_follow_and_the_next_goes_on_from_what_is_there() -> None:
    one, two, three = chain(1000, 200, -300)
    told = walk((one, replace(two, balance_after=1300), replace(three, balance_after=1000)))

    assert [(m.link, m.expected) for m in told] == [(Link.OPENS, 1000), (Link.BREAKS, 1200), (Link.FOLLOWS, 1000)]


def test_credits_at_the_opening_that_no_row_explains_are_named() -> None:
    assert walk(chain(1000, 200)[1:])[0].link is Link.OPENS_UNEXPLAINED


def test_movements_at_one_instant_are_tied_where_they_do_not_follow_as_they_stand() -> None:
    rows = (ledger_row(0, 100, 100), ledger_row(1, 5, 115, "a"), ledger_row(1, 10, 110, "b"))

    assert [movement.link for movement in walk(rows)] == [Link.OPENS, Link.TIED, Link.TIED]


def test_a_movement_without_numbers_is_unreadable_and_the_chain_goes_on_behind_it() -> None:
    one, two, three = chain(1000, 200, -300)
    told = walk((one, replace(two, amount=None), three))

    assert [movement.link for movement in told] == [Link.OPENS, Link.UNREADABLE, Link.FOLLOWS]
    assert walk(()) == []
