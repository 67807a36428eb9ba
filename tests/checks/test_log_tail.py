"""Following a file: nothing is counted twice, nothing is lost, whatever is done to it between two readings."""

import os
import random
from pathlib import Path

import pytest

from sidecar.checks.log_tail import LINE_BYTES_AT_MOST, Allowance, Followed, Position, follow


class Reader:
    """Follows one path as a check does, and keeps the lines, which a check never would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position: Position | None = None
        self.lines: list[bytes] = []

    def read(self, bytes_at_most: int = 1 << 30) -> Followed:
        allowance = Allowance(bytes_at_most, lambda: False)
        found = follow(self.path, self.position, lambda block: self.lines.extend(block.split(b"\n")), allowance)
        self.position = found.position or self.position
        return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "backend.log"
    path.write_bytes(b"from before we looked\n")
    return path


@pytest.fixture
def reader(log: Path) -> Reader:
    reader = Reader(log)
    assert reader.read() == Followed(position=reader.position)
    assert reader.lines == []
    return reader


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def line(number: int) -> bytes:
    return f"2026-11-28T12:00:00Z line {number} {'x' * 30}".encode()


def test_what_is_added_is_read_once(reader: Reader, log: Path) -> None:
    append(log, b"one\ntwo\n")
    reader.read()
    reader.read()
    append(log, b"three\n")
    reader.read()
    assert reader.lines == [b"one", b"two", b"three"]


def test_a_line_is_read_when_it_is_whole(reader: Reader, log: Path) -> None:
    append(log, b"one\nhal")
    reader.read()
    assert reader.lines == [b"one"]
    append(log, b"f\n")
    reader.read()
    assert reader.lines == [b"one", b"half"]


def test_a_line_that_had_begun_before_the_first_look_is_not_read_in_half(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"half a li")
    reader = Reader(log)
    reader.read()
    append(log, b"ne\nwhole\n")
    reader.read()
    assert reader.lines == [b"whole"]


def test_a_position_survives_as_json(reader: Reader, log: Path) -> None:
    append(log, b"one\n")
    reader.read()
    assert reader.position is not None
    reader.position = Position(**reader.position.document())  # type: ignore[arg-type]
    append(log, b"two\n")
    reader.read()
    assert reader.lines == [b"one", b"two"]


@pytest.mark.parametrize("name", ["backend.log.1", "backend.log-20261128", "backend-1.log"])
def test_rename_and_create_loses_nothing(reader: Reader, log: Path, name: str) -> None:
    append(log, b"one\n")
    reader.read()
    append(log, b"two\nthree without an end")
    log.rename(log.with_name(name))
    log.write_bytes(b"four\n")
    assert not reader.read().lost
    append(log, b"five\n")
    reader.read()
    assert reader.lines == [b"one", b"two", b"three without an end", b"four", b"five"]


def test_while_the_path_is_missing_the_old_file_is_read_to_its_end_once(reader: Reader, log: Path) -> None:
    append(log, b"one\n")
    reader.read()
    append(log, b"two\n")
    log.rename(log.with_name("backend.log.1"))
    assert reader.read().fault == "file_missing"
    assert reader.read().fault == "file_missing"
    log.write_bytes(b"three\n")
    assert reader.read().fault == ""
    assert reader.lines == [b"one", b"two", b"three"]


def test_copytruncate_loses_nothing_that_the_copy_has(reader: Reader, log: Path) -> None:
    append(log, line(1) + b"\n")
    reader.read()
    append(log, line(2) + b"\n")
    log.with_name("backend.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    append(log, line(3) + b"\n")
    assert not reader.read().lost
    reader.read()
    assert reader.lines == [line(1), line(2), line(3)]


def test_a_file_that_was_truncated_and_grew_beyond_its_old_size_is_known_as_another(reader: Reader, log: Path) -> None:
    append(log, line(1) + b"\n")
    reader.read()
    os.truncate(log, 0)
    append(log, b"".join(line(number) + b"\n" for number in range(2, 9)))
    assert reader.read().lost  # nobody kept a copy: what was written before the truncation is gone
    assert reader.lines == [line(number) for number in range(1, 9)]


def test_a_file_that_was_deleted_is_told_as_lost_once(reader: Reader, log: Path) -> None:
    append(log, b"one\n")
    reader.read()
    log.unlink()
    append(log, b"two\n")
    assert reader.read().lost
    assert not reader.read().lost
    assert reader.lines == [b"one", b"two"]


def test_an_overlong_line_is_looked_at_in_its_beginning_and_skipped(reader: Reader, log: Path) -> None:
    append(log, b"a" * (3 * LINE_BYTES_AT_MOST))
    reader.read()
    append(log, b"a" * LINE_BYTES_AT_MOST)
    reader.read()
    append(log, b"aaa\nnext\n")
    reader.read()
    assert [(len(found), found[:1]) for found in reader.lines] == [(LINE_BYTES_AT_MOST, b"a"), (4, b"n")]


def test_one_look_reads_no_more_than_it_may_and_the_next_goes_on(reader: Reader, log: Path) -> None:
    append(log, b"".join(line(number) + b"\n" for number in range(9_000)))
    looks = 1
    while reader.read(bytes_at_most=65_536).behind:
        looks += 1
    assert looks > 5
    assert reader.lines == [line(number) for number in range(9_000)]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.log"
    os.mkfifo(pipe)
    assert Reader(pipe).read() == Followed(position=None, fault="file_unreadable")
    assert Reader(tmp_path).read().fault == "file_unreadable"
    assert Reader(tmp_path / "none.log").read().fault == "file_missing"


def test_the_first_file_of_a_path_that_was_missing_is_begun_at_its_end_only_on_the_first_look(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "a.log")
    reader.read()
    reader.path.write_bytes(b"old\n")
    reader.read()
    append(reader.path, b"new\n")
    reader.read()
    assert reader.lines == [b"new"]


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_writing_rotating_and_reading_counts_each_line_once(reader: Reader, log: Path, seed: int) -> None:
    chance, written, generation = random.Random(seed), 0, 0
    for _ in range(150):
        match chance.choice(("write", "write", "write", "part", "read", "rename", "copy")):
            case "write":
                append(log, line(written) + b"\n")
                written += 1
            case "part":  # a line in two pieces, read in between
                whole = line(written) + b"\n"
                append(log, whole[:20])
                reader.read()
                append(log, whole[20:])
                written += 1
            case "read":
                reader.read(chance.choice((100, 1 << 20)))
            case rotation:
                append(log, line(written) + b"\n")  # an empty file bears no mark: see the reference
                written += 1
                while reader.read().behind:
                    pass  # the middle one of two rotations between two looks is not found: see the reference
                append(log, line(written) + b"\n")
                written, generation = written + 1, generation + 1
                aside = log.with_name(f"backend.log.{generation}")
                if rotation == "rename":
                    log.rename(aside)
                    log.touch()
                else:
                    aside.write_bytes(log.read_bytes())
                    os.truncate(log, 0)
    while reader.read().behind:
        pass
    assert reader.lines == [line(number) for number in range(written)]
