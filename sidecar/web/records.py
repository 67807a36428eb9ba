"""What a log drain sends, as texts to be counted: JSON (one record, a list, an envelope) or one JSON text a line."""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

SENT_BYTES_AT_MOST = 1024 * 1024
BODY_BYTES_AT_MOST = 4 * 1024 * 1024  # after decompression
RECORDS_AT_MOST = 20_000
DEPTH_AT_MOST = 20
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


def _unpacked(text: str) -> Iterator[Any]:
    """Parse a list entry by entry: one call for all of it would hold up the event loop for as long as it takes."""
    stripped = text.lstrip()
    if not stripped.startswith("["):
        yield from _opened(_whole(stripped))
        return
    decoder, position = json.JSONDecoder(), 1
    while True:
        position = _blank(stripped, position)
        if stripped[position : position + 1] == "]":
            if stripped[position + 1 :].strip():
                raise ValueError("text after the end of the list")
            return
        entry, position = decoder.raw_decode(stripped, position)
        yield entry
        position = _blank(stripped, position)
        match stripped[position : position + 1]:
            case ",":
                position += 1
            case "]":
                pass
            case _:
                raise ValueError("a list without its end")


def _whole(text: str) -> Any:  # noqa: ANN401  # JSON from outside
    return json.loads(text)


def _blank(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\t", "\r", "\n"}:
        position += 1
    return position


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
