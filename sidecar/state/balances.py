"""Balances that looks saw or people vouched for. Nothing here is ever changed or deleted."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.credits import Anchor
from sidecar.domain.plan import canonical
from sidecar.domain.rule import Amount, Origin
from sidecar.domain.undo import Removal
from sidecar.state import audit, bulk
from sidecar.state.store import Store, among, on_postgresql, slices
from sidecar.state.tables import attestations, confirmations, cutoffs, looks, snapshots, undo_rows, undos

PAGE_ROWS = 5000

# In the order of the primary key, so that of each key the last one is the newest.
_place = (snapshots.c.key, snapshots.c.at, snapshots.c.look_id, snapshots.c.note)
_proven = (
    sa.select(*_place, snapshots.c.amount)
    .join(looks, looks.c.id == snapshots.c.look_id)
    .outerjoin(cutoffs, cutoffs.c.rule == looks.c.rule)
    .where(looks.c.proven.is_(True), looks.c.id > sa.func.coalesce(cutoffs.c.look_id, 0))
    .order_by(*_place)
)
# The last look of a rule, if any, that saw a row which its later looks miss. What the ledger held by then without any
# effect on the row has none later either.
_before = (
    sa.select(looks.c.read_at)
    .where(looks.c.rule == confirmations.c.rule, looks.c.proven.is_(True), looks.c.id < confirmations.c.first_look_id)
    .order_by(looks.c.id.desc())
    .limit(1)
    .correlate(confirmations)
    .scalar_subquery()
)
_missed = sa.select(confirmations.c.key, _before.label("stood_at"))


class Balances(Store):
    """The book of balances."""

    async def known(self, table: str) -> AsyncIterator[tuple[str, Amount]]:
        """Yield (key, balance) as last seen in a proven look, ascending by key in text order.

        Reads page by page, each in its own short transaction: a look lasts minutes, and one long reader would keep
        SQLite's log from being folded back all that time. An abandoned iterator holds nothing.
        """
        query = _proven.where(snapshots.c.target == table).limit(PAGE_ROWS)
        held: tuple[str, Amount] | None = None
        page = await self._page(query)
        while page:
            for row in page:
                if held is not None and held[0] != row.key:
                    yield held
                held = (row.key, row.amount)
            after = sa.tuple_(*_place) > sa.tuple_(*page[-1][: len(_place)], types=[c.type for c in _place])
            page = await self._page(query.where(after))
        if held is not None:
            yield held

    async def _page(
        self, query: sa.Select[tuple[str, datetime, int, int, Amount]]
    ) -> Sequence[sa.Row[tuple[str, datetime, int, int, Amount]]]:
        async with self._database.reading() as connection:
            return (await connection.execute(query)).all()

    async def note(self, look_id: int, table: str, seen: Sequence[tuple[str, Amount]], at: datetime) -> None:
        """Remember changed balances. They count as evidence only once the look is closed as proven.

        Leaves no audit row: the look has one. Raises: ValueError when the look is not open.
        """
        async with self._database.writing() as connection:
            counted = looks.update().where(looks.c.id == look_id, looks.c.closed_at.is_(None))
            counted = counted.values(notes=looks.c.notes + 1)
            number = (await connection.execute(counted.returning(looks.c.notes))).scalar_one_or_none()
            if number is None:
                raise ValueError(f"look {look_id} is not open")
            common = {"target": table, "at": at, "look_id": look_id, "note": number}
            rows = [{**common, "key": key, "amount": amount} for key, amount in dict(seen).items()]
            await bulk.add(connection, snapshots.insert(), rows)

    async def anchors(
        self, table: str, keys: Sequence[str], before: datetime | None = None
    ) -> Mapping[str, tuple[Anchor, ...]]:
        """Return each key's latest attestation and latest proven snapshot; keys without either are left out.

        A snapshot is written when a balance changes, and stands until the last proven look that saw the row with it:
        its anchor bears that look's instant. Looks before the row was missed by any rule's look count.
        No snapshot counts of a key whose row an undo took back: what was seen was Sidecar's own writing.
        With `before` nothing counts that was said or noted later; until when a look saw the row is not asked then.
        """
        found: dict[str, dict[Origin, Anchor]] = {}
        vouched = sa.select(attestations).where(attestations.c.target == table)
        vouched = vouched.order_by(attestations.c.at, attestations.c.id)
        seen = _proven.add_columns(looks.c.rule).where(snapshots.c.target == table)
        if before is not None:
            vouched, seen = vouched.where(attestations.c.at < before), seen.where(snapshots.c.at < before)
        async with self._database.reading() as connection:
            for some in slices(keys):
                # Ascending by time, so that the last of each key stays.
                for row in await connection.execute(vouched.where(attestations.c.key.in_(some))):
                    anchor = Anchor(origin=Origin.ATTESTED, balance=row.amount, at=row.at)
                    found.setdefault(row.key, {})[Origin.ATTESTED] = anchor
                last = {row.key: row for row in await connection.execute(seen.where(snapshots.c.key.in_(some)))}
                for key in await _taken_back(connection, table, list(last)):
                    del last[key]
                noted_by = {key: row.rule for key, row in last.items()}
                stood = dict.fromkeys(last) if before is not None else await _stood(connection, noted_by)
                for key, row in last.items():
                    anchor = Anchor(origin=Origin.SNAPSHOT, balance=row.amount, at=max(row.at, stood[key] or row.at))
                    found.setdefault(key, {})[Origin.SNAPSHOT] = anchor
        return {key: tuple(anchors.values()) for key, anchors in found.items()}

    async def anchored_since(
        self, table: str, keys: Sequence[str], since: datetime, *, missed_since: datetime
    ) -> frozenset[str]:
        """Return the keys that somebody vouched for, or whose balance a look noted, since an instant.

        And those whose row an undo ever took back: until then a sight of it counted. And those whose row was there
        again, and is missed only since `missed_since`: it may have been seen with the balance of before.
        All of them where a person has accepted another database since: then older notes are no evidence any more.
        """
        last = sa.select(sa.func.count()).select_from(cutoffs).join(looks, looks.c.id == cutoffs.c.look_id)
        found: set[str] = set()
        async with self._database.reading() as connection:
            if await connection.scalar(last.where(looks.c.opened_at >= since)):
                return frozenset(keys)
            for some in [keys] if on_postgresql(connection) else slices(keys):
                for book in (attestations, snapshots):
                    query = sa.select(book.c.key).where(book.c.target == table, book.c.at >= since)
                    found |= set(await connection.scalars(query.where(among(connection, book.c.key, some))))
                found |= await _taken_back(connection, table, some)
                found |= await _missed_since(connection, some, missed_since)
        return frozenset(found)

    async def attest(self, table: str, key: str, amount: Amount, reason: str, actor: str, at: datetime) -> None:
        """Record the number that a person vouches for. The audit row binds it by digest and does not show it."""
        digest = hashlib.sha256(canonical([table, key, amount, reason]).encode()).hexdigest()
        async with self._database.writing() as connection:
            row = {"target": table, "key": key, "amount": amount, "reason": reason, "actor": actor, "at": at}
            await connection.execute(attestations.insert().values(**row))
            await audit.append(
                connection,
                at=at,
                actor=actor,
                verb="balance.attested",
                subject=f"{table}/{key}",
                details={"digest": digest},
            )


async def _taken_back(connection: AsyncConnection, table: str, keys: Sequence[str]) -> set[str]:
    """Return the keys among `keys` whose row a person took back once."""
    query = sa.select(undo_rows.c.key).join(undos, undos.c.id == undo_rows.c.undo_id)
    query = query.where(undos.c.lease == table, undo_rows.c.standing == Removal.UNDONE)
    return set(await connection.scalars(query.where(among(connection, undo_rows.c.key, keys))))


async def _missed_since(connection: AsyncConnection, keys: Sequence[str], since: datetime) -> set[str]:
    """Return the keys among `keys` whose row some rule misses no longer than since an instant."""
    query = sa.select(confirmations.c.key).join(looks, looks.c.id == confirmations.c.first_look_id)
    query = query.where(looks.c.opened_at > since, among(connection, confirmations.c.key, keys))
    return set(await connection.scalars(query))


async def _stood(connection: AsyncConnection, noted_by: Mapping[str, str]) -> dict[str, datetime | None]:
    """Return until when looks saw each key's row, by the server's time; None where no later look tells.

    Where several rules miss a row, the earliest of their answers counts: a look without evidence of a key misses
    nothing. Where none does, every look of the rule that noted the balance saw the row.
    """
    stood: dict[str, datetime | None] = {}
    for row in await connection.execute(_missed.where(confirmations.c.key.in_(list(noted_by)))):
        answers = (row.stood_at, stood.get(row.key, row.stood_at))
        stood[row.key] = None if None in answers else min(answers)
    newest: dict[str, datetime | None] = {}
    for rule in set(noted_by.values()):
        query = sa.select(looks.c.read_at).where(looks.c.rule == rule, looks.c.proven.is_(True))
        newest[rule] = await connection.scalar(query.order_by(looks.c.id.desc()).limit(1))
    return {key: stood[key] if key in stood else newest[rule] for key, rule in noted_by.items()}
