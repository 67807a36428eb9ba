"""The verb `audit verify`: is the trail what was written, as far as heads kept elsewhere can say?"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sidecar.app import App
from sidecar.domain.audit import ChainBroken, ChainHolds, Head, keep
from sidecar.engine.audit_watch import follow_chain
from sidecar.errors import UsageError
from sidecar.verbs.result import Exit, Result

EVENT = "audit.anchored"  # the log line that keeps a head
PAGE = "docs/howto/verify-the-audit.md"
SECONDS_BETWEEN_LINES = {True: 0.2, False: 2.0}  # on a terminal, and elsewhere
ROWS_BETWEEN_CLOCKS = 1000
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Heads that were kept outside the memory. `unreadable` counts log lines that name one and cannot be read."""

    heads: Sequence[Head]
    unreadable: int = 0


def gather(typed: Sequence[str], log: Path | None) -> Anchors:
    """Gather the heads that were typed and those of a log.

    Raises: UsageError for what is no head, and for a log that cannot be read or holds none: it would vouch for nothing.
    """
    heads = [_typed(text) for text in typed]
    if log is None:
        return Anchors(heads=heads)
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            found = list(_logged(lines))
    except OSError as error:
        raise UsageError(f"cannot read {log}: {error.strerror}") from error
    kept = [head for head in found if head is not None]
    if not kept:
        raise UsageError(f"{log} holds no line of the event {EVENT} that can be read")
    return Anchors(heads=[*heads, *kept], unreadable=len(found) - len(kept))


def _typed(text: str) -> Head:
    seq, _, hash_ = text.partition(":")
    head = _head(int(seq) if seq.isdecimal() else None, hash_)
    if head is None:
        raise UsageError(f"{text!r} is no anchor: write SEQ:HASH, a number from 1 on and 64 hexadecimal digits")
    return head


def _logged(lines: Iterable[str]) -> Iterator[Head | None]:
    """Yield a head for each line that names one, whatever stands before its JSON; None where it cannot be read."""
    for line in lines:
        if EVENT not in line:
            continue
        try:
            document = json.loads(line[line.index("{") :])
        except (ValueError, RecursionError):
            yield None
            continue
        if isinstance(document, dict) and document.get("event") == EVENT:
            yield _head(document.get("seq"), document.get("hash"))


def _head(seq: object, hash_: object) -> Head | None:
    if isinstance(seq, bool) or not isinstance(seq, int) or seq < 1:
        return None
    return Head(seq, hash_) if isinstance(hash_, str) and _HASH.fullmatch(hash_) else None


class Counter:
    """Says how many rows were followed: in place on a terminal, in lines elsewhere, and nothing while it is quick."""

    def __init__(self, stream: TextIO, now_seconds: Callable[[], float]) -> None:
        """Say it on `stream`."""
        self._stream = stream
        self._now_seconds = now_seconds
        self._said_seconds = now_seconds()

    def told(self, rows: int) -> None:
        """Take note; look at the clock now and then only."""
        if rows % ROWS_BETWEEN_CLOCKS:
            return
        terminal, now_seconds = self._stream.isatty(), self._now_seconds()
        if now_seconds - self._said_seconds < SECONDS_BETWEEN_LINES[terminal]:
            return
        self._said_seconds = now_seconds
        start, end = ("\r", "") if terminal else ("", "\n")
        self._stream.write(f"{start}sidecar: {rows:,} rows of the audit hold so far{end}")
        self._stream.flush()

    def close(self) -> None:
        """Leave the line that was written in place."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()


async def verify(app: App, anchors: Anchors) -> Result:
    """Follow the whole chain, and hold every anchor against it. Raises: StateUnavailable."""
    counter = Counter(sys.stderr, time.monotonic)
    try:
        found = await follow_chain(app.state, keep(anchors.heads), told=counter.told)
    finally:
        counter.close()
    return _broken(found, anchors) if isinstance(found, ChainBroken) else _holds(found, anchors)


def _broken(found: ChainBroken, anchors: Anchors) -> Result:
    lines = [f"audit: BROKEN at row {found.seq}: {found.flaw}", f"  {found.detail}", f"  rows before it: {found.rows}"]
    wrong = {"seq": found.seq, "flaw": str(found.flaw), "detail": found.detail}
    document = _document(anchors) | {"verdict": "unhealthy", "rows": found.rows, "head": None, "broken": wrong}
    return Result(document=document, lines=[*lines, *_unread(anchors)], code=Exit.VERIFY_FAILED)


def _holds(found: ChainHolds, anchors: Anchors) -> Result:
    """An audit without rows is neither whole nor broken: nothing was looked at."""
    head = found.head
    if head is None:
        lines = ["audit: no rows, so nothing was verified: a new memory, or an emptied one; an anchor would tell which"]
        document = _document(anchors) | {"verdict": "unknown", "rows": 0, "head": None, "broken": None}
        return Result(document=document, lines=lines, code=Exit.UNKNOWN)
    lines = [f"audit: {found.rows} rows hold", f"  head {head.seq}:{head.hash}", *_vouched(head, anchors)]
    told = {"seq": head.seq, "hash": head.hash}
    document = _document(anchors) | {"verdict": "healthy", "rows": found.rows, "head": told, "broken": None}
    return Result(document=document, lines=[*lines, *_unread(anchors)], code=Exit.CLEAN)


def _vouched(head: Head, anchors: Anchors) -> Iterator[str]:
    """Say how far an anchor vouches for what hashes and links alone cannot show."""
    newest = max((anchor.seq for anchor in anchors.heads), default=0)
    if not newest:
        yield f"  without an anchor, a tail that was cut off or a chain written anew cannot be seen; see {PAGE}"
    elif newest < head.seq:
        yield f"  anchors vouch for it up to row {newest}; {head.seq - newest} rows are newer"
    else:
        yield "  anchors vouch for all of it"


def _unread(anchors: Anchors) -> Iterator[str]:
    if anchors.unreadable:
        yield f"  {anchors.unreadable} lines of the log name {EVENT} and could not be read"


def _document(anchors: Anchors) -> dict[str, object]:
    return {
        "anchors": len(anchors.heads),
        "newest_anchor": max((anchor.seq for anchor in anchors.heads), default=None),
        "unreadable_lines": anchors.unreadable,
    }
