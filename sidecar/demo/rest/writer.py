"""Compose one SQL statement out of fixed text, quoted names and bound values."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from psycopg import sql

Item = TypeVar("Item")


class Writer:
    """A statement being written. The methods return the writer, so that calls can follow each other."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._parts: list[sql.Composable] = []
        self.values: list[object] = []

    def statement(self) -> sql.Composed:
        """Return the statement, whose values are in `values`."""
        return sql.Composed(self._parts)

    def text(self, text: str) -> "Writer":
        """Add SQL: our own, or as the database's catalogue renders it (types and defaults); never from a request."""
        self._parts.append(sql.SQL(text.replace("%", "%%")))
        return self

    def name(self, *path: str) -> "Writer":
        """Add a quoted name, qualified when several are given."""
        # A zero byte would end the name early; a per cent sign would be taken for a placeholder.
        self._parts.append(sql.Identifier(*(part.replace("\0", "").replace("%", "%%") for part in path)))
        return self

    def value(self, value: object) -> "Writer":
        """Add a bound value. Its type is left to PostgreSQL, as PostgREST leaves it."""
        self._parts.append(sql.Placeholder())
        self.values.append(value)
        return self

    def each(self, items: Iterable[Item], separator: str = ", ") -> Iterator[Item]:
        """Yield each item, after writing the separator before all but the first."""
        for index, item in enumerate(items):
            if index:
                self.text(separator)
            yield item
