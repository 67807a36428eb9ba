"""Follow a log file from where it was left, through rotation and truncation, and through our own restarts.

A file is known again by its inode and by a mark: the digest of the bytes just before the place where it was left. Where
the path leads elsewhere, or the mark is not there any more, the rest of the old file is looked for beside it: under
another name (rename and create) or as a copy with the mark in it (copytruncate). Only whole lines are read, but of a
file that was put aside also its last.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

CHUNK_BYTES = 65_536
LINE_BYTES_AT_MOST = 65_536  # of a longer line only the beginning is looked at
MARK_BYTES = 1_024
MARK_BYTES_AT_LEAST = 32  # a copy is not known by less
SIBLINGS_AT_MOST = 1_000

Feed = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a file was left. `amid_line` says that the rest of an overlong line is still to be skipped."""

    device: int
    inode: int
    offset: int
    mark_bytes: int
    mark_sha256: str
    amid_line: bool = False

    def document(self) -> dict[str, int | str | bool]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What following came to. `fault` is a reason, '' when the file was read; `lost` that a rest was not found."""

    position: Position | None
    fault: str = ""
    behind: bool = False
    lost: bool = False


@dataclass(slots=True)
class Allowance:
    """How much one look may read, and until when."""

    bytes_left: int
    out_of_time: Callable[[], bool]

    @property
    def is_spent(self) -> bool:
        """Whether it is time to stop."""
        return self.bytes_left <= 0 or self.out_of_time()


def follow(path: Path, before: Position | None, feed: Feed, allowance: Allowance) -> Followed:
    """Feed every whole line that was written since `before`; a file that was never seen is begun at its end."""
    with _opened(path) as (file, fault):
        if before is None:
            return Followed(position=None if file is None else _at_end(file), fault=fault)
        if file is not None and _is_same(file, before):
            position, behind = _drain(file, before, feed, allowance)
            return Followed(position=position, behind=behind)
        rest, behind = _read_rest(path, before, feed, allowance)
        lost = rest is None
        if behind or file is None:
            return Followed(position=rest or before, fault=fault, behind=behind, lost=lost and file is not None)
        position, behind = _drain(file, _beginning(file), feed, allowance)
        return Followed(position=position, behind=behind, lost=lost)


def _read_rest(path: Path, before: Position, feed: Feed, allowance: Allowance) -> tuple[Position | None, bool]:
    """Read what is left of a file that was put aside; None when it is not found."""
    for sibling in _siblings(path):
        with _opened(sibling) as (file, _):
            if file is not None and (_is_same(file, before) or _is_copy(file, before)):
                found = os.fstat(file)
                aside = replace(before, device=found.st_dev, inode=found.st_ino)
                return _drain(file, aside, feed, allowance, put_aside=True)
    return None, False


def _siblings(path: Path) -> Iterator[Path]:
    try:
        with os.scandir(path.parent) as entries:
            for number, entry in enumerate(entries):
                if number >= SIBLINGS_AT_MOST:
                    return
                if entry.name != path.name and entry.name.startswith(path.stem):
                    yield Path(entry.path)
    except OSError:
        return


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int | None, str]]:
    """Open a regular file; a pipe or a device is none, and is not waited for."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        yield None, "file_missing"
        return
    except (OSError, ValueError):
        yield None, "file_unreadable"
        return
    try:
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        yield (file, "") if is_file else (None, "file_unreadable")
    finally:
        os.close(file)


def _at_end(file: int) -> Position:
    size = os.fstat(file).st_size
    amid_line = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    return _placed(file, size, amid_line=amid_line)


def _beginning(file: int) -> Position:
    return _placed(file, 0, amid_line=False)


def _placed(file: int, offset: int, *, amid_line: bool) -> Position:
    found = os.fstat(file)
    mark = os.pread(file, min(MARK_BYTES, offset), max(0, offset - MARK_BYTES))
    return Position(
        device=found.st_dev,
        inode=found.st_ino,
        offset=offset,
        mark_bytes=len(mark),
        mark_sha256=hashlib.sha256(mark).hexdigest(),
        amid_line=amid_line,
    )


def _is_same(file: int, before: Position) -> bool:
    found = os.fstat(file)
    return (found.st_dev, found.st_ino) == (before.device, before.inode) and _has_mark(file, before)


def _is_copy(file: int, before: Position) -> bool:
    return before.mark_bytes >= MARK_BYTES_AT_LEAST and _has_mark(file, before)


def _has_mark(file: int, before: Position) -> bool:
    """Say whether the bytes before the place are still those that were read."""
    mark = os.pread(file, before.mark_bytes, before.offset - before.mark_bytes)
    return hashlib.sha256(mark).hexdigest() == before.mark_sha256


def _drain(
    file: int, before: Position, feed: Feed, allowance: Allowance, *, put_aside: bool = False
) -> tuple[Position, bool]:
    """Feed whole lines from `before` on; return where it ended, and whether there is more."""
    offset, amid_line, carried = before.offset, before.amid_line, b""
    while not allowance.is_spent:
        chunk = os.pread(file, CHUNK_BYTES, offset + len(carried))
        if not chunk:
            if put_aside and carried:
                feed(carried)
                offset += len(carried)
            return _placed(file, offset, amid_line=amid_line), False
        allowance.bytes_left -= len(chunk)
        data, carried = carried + chunk, b""
        end = data.rfind(b"\n") + 1
        if amid_line and end:
            skipped = data.find(b"\n") + 1
            offset, data, end, amid_line = offset + skipped, data[skipped:], end - skipped, False
        if end:
            feed(data[: end - 1])
            offset, carried = offset + end, data[end:]
        elif amid_line:
            offset += len(data)
        elif len(data) > LINE_BYTES_AT_MOST:
            feed(data[:LINE_BYTES_AT_MOST])
            offset, amid_line = offset + len(data), True
        else:
            carried = data
    return _placed(file, offset, amid_line=amid_line), True
