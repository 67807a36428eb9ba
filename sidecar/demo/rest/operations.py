"""What a request can do with a table or a function."""

from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sidecar.demo.rest import statements
from sidecar.demo.rest.answers import (
    behind_the_end,
    check_affected,
    check_single,
    content_range,
    planned_rows,
    status_of_page,
)
from sidecar.demo.rest.catalogue import Catalogue, Function, Pool, Table
from sidecar.demo.rest.errors import RestError
from sidecar.demo.rest.functions import choose
from sidecar.demo.rest.payload import payload
from sidecar.demo.rest.preferences import Preferences
from sidecar.demo.rest.query import Query
from sidecar.demo.rest.session import Row, run
from sidecar.demo.rest.statements import Payload, Shape
from sidecar.demo.rest.tokens import Caller
from sidecar.demo.rest.writer import Writer

ROWS_AT_MOST = 1000  # db-max-rows of a hosted project: a longer answer is cut off without a word

_NOTHING = Shape("none")
_ONLY_WRITES = ("resolution", "missing", "return")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request, understood. `content` holds the headers of an answer that has a body."""

    pool: Pool
    catalogue: Catalogue
    caller: Caller
    request: Request
    query: Query
    limit: int | None
    offset: int
    preferences: Preferences
    content: dict[str, str]
    shape: Shape

    async def read(self, name: str) -> Response:
        """Answer GET and HEAD on a table."""
        table = await self._table(name)
        counting = self.preferences.chosen.get("count")
        writer = statements.read(
            table,
            self.catalogue.schema,
            self.query,
            limit=self._page_size,
            offset=self.offset,
            count=self.preferences.counts,
            count_limit=ROWS_AT_MOST + 1 if counting == "estimated" else None,
            shape=_NOTHING if self.request.method == "HEAD" else self.shape,
        )
        explained = None
        if counting in {"planned", "estimated"}:
            explained = statements.write_counted(Writer(), table, self.catalogue.schema, self.query)
        row, plan = await run(
            self.pool,
            self.caller,
            writer,
            settings=self.catalogue.settings(self.caller.role),
            read_only=True,
            accept=lambda row: check_single(row, self.shape),
            then=explained,
        )
        total: int | None = row[0]
        if counting == "planned" or (counting == "estimated" and (total or 0) > ROWS_AT_MOST):
            total = max(total or 0, planned_rows(plan))
        return self._page(row, total, self.preferences.applied(*_ONLY_WRITES, "max-affected"))

    @property
    def _page_size(self) -> int:
        return ROWS_AT_MOST if self.limit is None else min(self.limit, ROWS_AT_MOST)

    def _page(self, row: Row, total: int | None, applied: dict[str, str]) -> Response:
        headers = {"Content-Range": content_range(self.offset, row[1], total), **applied}
        status = status_of_page(self.offset, row[1], total)
        if status == 416:
            raise behind_the_end(self.offset, total, headers)
        return Response(row[2], status, {**headers, **self.content})

    async def insert(self, name: str) -> Response:
        """Answer POST on a table."""
        table, rows = await self._rows(name)
        chosen = self.preferences.chosen
        returning = chosen.get("return")
        resolved = bool(table.key or self.query.on_conflict)
        resolution = chosen.get("resolution", "").removesuffix("-duplicates") if resolved else ""
        writer = statements.insert(
            table,
            self.catalogue.schema,
            self.query,
            rows,
            resolution=resolution or None,
            defaults=chosen.get("missing") == "default",
            returning=returning,
            shape=self._returned_shape,
        )
        row = await self._change(writer, None)
        headers = {
            "Content-Range": content_range(0, 0, row[1] if self.preferences.counts else None),
            **self.preferences.applied("max-affected", *(() if resolved else ("resolution",))),
        }
        if row[3]:
            pairs = (part.partition("=") for part in row[3])
            headers["Location"] = f"/{name}?{'&'.join(f'{quote(key)}={quote(value)}' for key, _, value in pairs)}"
        status = 200 if resolution == "merge" and (row[4] or 0) <= 0 else 201
        return Response(row[2], status, {**headers, **(self.content if returning == "representation" else {})})

    async def update(self, name: str) -> Response:
        """Answer PATCH on a table."""
        table, rows = await self._rows(name)
        writer = statements.update(
            table,
            self.catalogue.schema,
            self.query,
            rows,
            defaults=self.preferences.chosen.get("missing") == "default",
            returning=self.preferences.chosen.get("return"),
            shape=self._returned_shape,
        )
        row = await self._change(writer, self._affected_at_most)
        total = row[1] if self.preferences.counts else None
        return self._changed(row, content_range(0, row[1], total), self.preferences.applied("resolution"))

    async def delete(self, name: str) -> Response:
        """Answer DELETE on a table."""
        table = await self._table(name)
        returning = self.preferences.chosen.get("return")
        writer = statements.delete(
            table, self.catalogue.schema, self.query, returning=returning, shape=self._returned_shape
        )
        row = await self._change(writer, self._affected_at_most)
        total = row[1] if self.preferences.counts else None
        return self._changed(row, content_range(0, 0, total), self.preferences.applied("resolution", "missing"))

    @property
    def _returned_shape(self) -> Shape:
        return self.shape if self.preferences.chosen.get("return") == "representation" else _NOTHING

    @property
    def _affected_at_most(self) -> int | None:
        return self.preferences.max_affected if self.preferences.strict else None

    def _changed(self, row: Row, rows: str, applied: dict[str, str]) -> Response:
        headers = {"Content-Range": rows, **applied}
        if self.preferences.chosen.get("return") == "representation":
            return Response(row[2], 200, {**headers, **self.content})
        return Response(status_code=204, headers=headers)

    async def _change(self, writer: Writer, at_most: int | None) -> Row:
        def accept(row: Row) -> None:
            check_single(row, self.shape)
            check_affected(row, at_most)

        settings = self.catalogue.settings(self.caller.role)
        row, _ = await run(self.pool, self.caller, writer, settings=settings, read_only=False, accept=accept)
        return row

    async def call(self, name: str) -> Response:
        """Answer GET, HEAD and POST on a function."""
        posted = self.request.method == "POST"
        given: Payload | dict[str, str] = await self._payload(for_call=True) if posted else dict(self.query.arguments)
        function = await choose(
            self.catalogue, name, given.columns if isinstance(given, Payload) else given, posted=posted
        )
        writer = statements.call(
            function,
            self.catalogue.schema,
            self.query,
            given,
            limit=self._page_size,
            offset=self.offset,
            count=self.preferences.counts,
            shape=_NOTHING if self.request.method == "HEAD" or function.returns_void else self.shape,
        )

        def accept(row: Row) -> None:
            check_single(row, self.shape)
            check_affected(row, self._affected_at_most if function.returns_set else None)

        row, _ = await run(
            self.pool,
            self.caller,
            writer,
            settings={**self.catalogue.settings(self.caller.role), **function.settings},
            read_only=not (posted and function.volatile),
            accept=accept,
        )
        return self._called(row, function)

    def _called(self, row: Row, function: Function) -> Response:
        applied = self.preferences.applied(*_ONLY_WRITES)
        if function.returns_void:
            return Response(
                status_code=204, headers={"Content-Range": content_range(self.offset, 1, row[0]), **applied}
            )
        return self._page(row, row[0], applied)

    async def _table(self, name: str) -> Table:
        table = await self.catalogue.table(name)
        if self.query.embedded:
            other = self.query.embedded[0]
            message = f"Could not find a relationship between '{name}' and '{other}' in the schema cache"
            details = (
                f"Searched for a foreign key relationship between '{name}' and '{other}' in the schema"
                f" '{self.catalogue.schema}', but no matches were found."
            )
            raise RestError(400, "PGRST200", message, details=details)
        return table

    async def _rows(self, name: str) -> tuple[Table, Payload]:
        """Return the table and the rows to write, having made sure that it has their columns."""
        rows = await self._payload(for_call=False)
        table = await self._table(name)
        if not set(rows.columns) <= table.columns.keys():
            await self.catalogue.refresh()
            table = await self._table(name)
        for column in rows.columns:
            if column not in table.columns:
                message = f"Could not find the '{column}' column of '{name}' in the schema cache"
                raise RestError(400, "PGRST204", message)
        return table, rows

    async def _payload(self, *, for_call: bool) -> Payload:
        content_type = self.request.headers.get("content-type", "")
        return payload(await self.request.body(), content_type, columns=self.query.columns, for_call=for_call)
