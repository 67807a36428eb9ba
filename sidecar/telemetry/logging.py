"""Writes lines: JSON where a machine reads, short text where a person does. Nothing is configured at import.

Libraries that use the standard library's logging are heard too, from WARNING on, through the same masking.
"""

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

from sidecar.domain.event import Event
from sidecar.domain.masking import mask
from sidecar.telemetry.lines import Line, is_for_debugging, line_of

REPEAT_SECONDS = 60.0  # the same message of a library is written once in this time, then with a count
FRAMES_AT_MOST = 3

TraceIds = tuple[str, str]  # trace_id and span_id, in hexadecimal


class EventLog:
    """A listener of events that writes one line for each."""

    def __init__(self, stream: TextIO, level: str, *, terminal: bool, trace_ids: Callable[[], TraceIds | None]) -> None:
        """Write to `stream`; `level` is debug, info, warning or error. Text for people when it is a `terminal`."""
        number = logging.getLevelNamesMapping()[level.upper()]
        self._written = frozenset(
            name.lower() for name, value in logging.getLevelNamesMapping().items() if value >= number
        )
        self._logger: FilteringBoundLogger = structlog.wrap_logger(
            _Stream(stream),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.add_log_level,
                _TraceIds(trace_ids),
                _mask,
                _for_people if terminal else _for_machines,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            context_class=dict,
            cache_logger_on_first_use=False,
        )
        self._is_terse = "debug" not in self._written
        self._handler = _LibraryHandler(self)
        self._root_level = logging.WARNING

    def hear(self, event: Event) -> None:
        """Write the event's line."""
        if self._is_terse and is_for_debugging(event):
            return
        self.write(line_of(event))

    def write(self, line: Line) -> None:
        """Write one line of `sidecar.telemetry.lines.CATALOGUE`; None and empty fields are left out."""
        if line.level not in self._written:
            return
        fields = {name: value for name, value in line.fields.items() if value not in (None, "", (), {})}
        getattr(self._logger, line.level)(line.name, **fields)

    def listen_to_libraries(self) -> None:
        """Take what libraries log from WARNING on, process-wide, until `close`."""
        root = logging.getLogger()
        self._root_level = root.level
        root.addHandler(self._handler)
        root.setLevel(logging.WARNING)

    def close(self) -> None:
        """Let go of the libraries' lines."""
        root = logging.getLogger()
        if self._handler in root.handlers:
            root.removeHandler(self._handler)
            root.setLevel(self._root_level)


def configure_logging(
    stream: TextIO,
    level: str,
    *,
    terminal: bool,
    trace_ids: Callable[[], TraceIds | None] = lambda: None,
) -> EventLog:
    """Return the log that writes to `stream`, already listening to libraries; whoever asked for it closes it."""
    log = EventLog(stream, level, terminal=terminal, trace_ids=trace_ids)
    log.listen_to_libraries()
    return log


class _Stream:
    """What structlog calls a logger: takes finished lines. A stream that is gone must not take the daemon with it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _TraceIds:
    """Names the current span on each line."""

    def __init__(self, trace_ids: Callable[[], TraceIds | None]) -> None:
        self._trace_ids = trace_ids

    def __call__(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if ids := self._trace_ids():
            line["trace_id"], line["span_id"] = ids
        return line


_OURS = ("timestamp", "level", "event", "trace_id", "span_id")  # made here, so nothing in them needs masking


def _mask(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    ours = {name: line[name] for name in _OURS if name in line}
    return {**ours, **{name: mask(value) for name, value in line.items() if name not in ours}}


def _for_machines(_logger: object, _method: str, line: Mapping[str, Any]) -> str:
    return json.dumps(line)  # ASCII only, whatever the stream's encoding


_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[36m", "warning": "\x1b[33m", "error": "\x1b[31m"}


def _for_people(_logger: object, _method: str, line: Mapping[str, Any]) -> str:
    """Render as `12:00:00 warning check.flipped      check=backend verdict=unhealthy`."""
    level = str(line["level"])
    fields = " ".join(f"{name}={_shown(value)}" for name, value in line.items() if name not in _OURS)
    clock = str(line["timestamp"])[11:19]
    return f"{clock} {_COLOURS.get(level, '')}{level:<7}\x1b[0m {line['event']:<22} {fields}".rstrip()


def _shown(value: object) -> str:
    """Show a value on one line; what could move the cursor or forge a line is escaped."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    plain = text.isprintable() and (not isinstance(value, str) or (" " not in text and text))
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


class _LibraryHandler(logging.Handler):
    """Turns a library's record into `library.logged`; of the same message over and over, only some."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._told: dict[tuple[str, object], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        what = (record.name, record.msg if isinstance(record.msg, str) else type(record.msg).__name__)
        now = time.monotonic()
        told_at, repeated = self._told.get(what, (-REPEAT_SECONDS, 0))
        if now - told_at < REPEAT_SECONDS:
            self._told[what] = (told_at, repeated + 1)
            return
        self._told = {key: value for key, value in self._told.items() if now - value[0] < REPEAT_SECONDS}
        self._told[what] = (now, 0)
        try:
            self._log.write(_library_line(record, repeated))
        except Exception:  # noqa: BLE001  # a record that cannot be rendered; logging must never raise
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        del record  # its own version prints the record, unmasked, on stderr


def _library_line(record: logging.LogRecord, repeated: int) -> Line:
    error = record.exc_info[1] if record.exc_info else None
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_AT_MOST:] if error else []
    fields = {
        "logger": record.name,
        "message": record.getMessage(),
        # An exception's own text is left out: it may hold a statement's parameters or a URL.
        "error_type": type(error).__name__ if error else None,
        "at": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in frames] or None,
        "repeated": repeated or None,
    }
    return Line("library.logged", "error" if record.levelno >= logging.ERROR else "warning", fields)
