"""What a log drain sends, as texts to be counted: JSON (one record, a list, an envelope) or one JSON text a line."""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

SENT_BYTES_AT_MOST = 1024 * 1024
BODY_BYTES_AT_MOST = 4 * 1024 * 1024  # after decompression
RECORDS_AT_MOST = 20_000
DEPTH_AT_MOST = 20
_BLANKS = frozenset(" \t\r\n")
JSON_TYPES = frozenset({"application/json", "text/json"})
LINE_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
# Where senders put their lists: Vercel sends a bare list, Supabase, Railway and collectors one of these, Loki streams.
_ENVELOPES = ("logs", "events", "records", "batch", "data", "result", "streams", "values")


class TooLarge(Exception):
    """More than is read at once."""


class Malformed(Exception):
    """Not what its content type says."""


def unzipped(body: bytes) -> bytes:
    """Return what was compressed with gzip, never more than may be read. Raises: TooLarge, Malformed."""
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        found = member.decompress(body, BODY_BYTES_AT_MOST + 1)
    except zlib.error as error:
        raise Malformed("the body is not the gzip it claims to be") from error
    if len(found) > BODY_BYTES_AT_MOST:
        raise TooLarge(f"more than {BODY_BYTES_AT_MOST} bytes after decompression")
    if not member.eof or member.unused_data:
        raise Malformed("the compressed body ends too early, or goes on after its end")
    return found


def records(body: bytes, *, by_line: bool) -> list[str]:
    """Return the texts of every record: all the texts in it, so that no sender's field names need be known.

    Whole or not at all, so that a sender who is refused may send the same again. Raises: TooLarge, Malformed.
    """
    try:
        text = body.decode("utf-8", "replace")
        parts = text.split("\n") if by_line else [text]  # `splitlines` would also split at U+2028
        found: list[str] = []
        for part in parts:
            if part.strip():
                for record in _unpacked(part):
                    if len(found) >= RECORDS_AT_MOST:
                        raise TooLarge(f"more than {RECORDS_AT_MOST} records")
                    found.append("\n".join(_texts(record, DEPTH_AT_MOST)))
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON" if not by_line else "a line is not JSON") from error
    if not found and not by_line and not text.strip():
        raise Malformed("the body is empty")
    return found


class _Pieces:
    """Parses a JSON text piece by piece: one call for all of it would hold up the event loop meanwhile."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._decode = json.JSONDecoder().raw_decode
        self._at = 0

    def whole(self) -> Any:  # noqa: ANN401  # JSON from outside
        """Return the document: its outermost members, and the entries of lists among them, are parsed one by one."""
        found = self._value(depth=2)
        if self._next():
            raise ValueError("text after the end")
        return found

    def _value(self, depth: int) -> Any:  # noqa: ANN401  # JSON from outside
        opening = self._next()
        if depth and opening == "[":
            return list(self._entries("]", depth))
        if depth == 2 and opening == "{":
            return dict(self._entries("}", depth))
        found, self._at = self._decode(self._text, self._at)
        return found

    def _entries(self, closing: str, depth: int) -> Iterator[Any]:
        self._at += 1
        if self._next() == closing:
            self._at += 1
            return
        while True:
            if closing == "}":
                key, self._at = self._decode(self._text, self._at if self._next() == '"' else len(self._text))
                self._take(":")
                yield key, self._value(depth - 1)
            else:
                yield self._value(0)
            if self._take(f",{closing}") == closing:
                return

    def _next(self) -> str:
        while (character := self._text[self._at : self._at + 1]) in _BLANKS:
            self._at += 1
        return character

    def _take(self, expected: str) -> str:
        character = self._next()
        if not character or character not in expected:
            raise ValueError("not JSON")
        self._at += 1
        return character


def _unpacked(text: str) -> Iterator[Any]:
    document = _Pieces(text).whole()
    for record in document if isinstance(document, list) else [document]:
        yield from _opened(record)


def _opened(document: Any, depth: int = 3) -> Iterator[Any]:  # noqa: ANN401  # JSON from outside
    """Return the records in an envelope, or the document itself where it is a record."""
    if isinstance(document, Mapping) and depth:
        lists = [document[name] for name in _ENVELOPES if isinstance(document.get(name), list)]
        if len(lists) == 1:
            for entry in lists[0]:
                yield from _opened(entry, depth - 1)
            return
    yield document


def _texts(part: Any, depth: int) -> Iterator[str]:  # noqa: ANN401  # JSON from outside
    match part:
        case str():
            yield part
        case dict() if depth:
            for inner in part.values():
                yield from _texts(inner, depth - 1)
        case list() if depth:
            for inner in part:
                yield from _texts(inner, depth - 1)
        case _:
            return
