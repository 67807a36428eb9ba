"""The kind `log_signature`: how often lines of known kinds were written. No line is ever kept, or told."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sidecar.checks.context import ProbeContext
from sidecar.checks.log_drain import Arrived
from sidecar.checks.log_keys import LogSignatureKeys, LogSignatureSpec
from sidecar.checks.log_memory import LogMemory, log_memory
from sidecar.checks.log_tail import Allowance, Followed, follow
from sidecar.checks.signatures import Counter, Signature, merged
from sidecar.checks.stopped import Stopped
from sidecar.checks.way import Way
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.reasons import LogSignatureReason
from sidecar.errors import StateUnavailable
from sidecar.sights import Notebook

__all__ = ["LogSignatureKeys", "LogSignatureProbe", "LogSignatureSpec"]

BYTES_AT_MOST = 16 * 1024 * 1024  # of one look; what is more is read by the next
SPARE_SECONDS = 0.5  # of the timeout, for remembering
TRIES = 5  # against others that remember at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What one look read, and what is to be remembered of it."""

    memory: LogMemory
    new: Mapping[str, int] = field(default_factory=dict)
    followed: Mapping[str, Followed] = field(default_factory=dict)
    bytes_read: int = 0
    loki: Mapping[str, int] = field(default_factory=dict)
    loki_fault: str = ""

    def seen(self, signature: Signature, spec: LogSignatureSpec, now: float) -> int:
        """How often a signature was seen within the window, wherever."""
        since = now - spec.within_seconds
        return self.memory.seen(signature.key, since, spec.slice_seconds) + self.loki.get(signature.key, 0)


class LogSignatureProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context

    async def __call__(self, check: Check) -> Observation:
        """Look once, within `check.timeout_seconds`."""
        spec = check.spec
        if not isinstance(spec, LogSignatureSpec):
            raise TypeError(type(spec).__name__)
        clock = self._context.clock
        taken_at, started = clock.now(), clock.monotonic()
        deadline = started + check.timeout_seconds - SPARE_SECONDS
        way = Way(clock=clock, deadline=deadline)
        read = await self._ask_loki(spec, await self._read(check, spec, deadline), way)
        reason, detail = self._judge(spec, read)
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=reason.verdict,
            reason=reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=detail,
            notes=_notes(read, reason),
            phases=way.phases,
            facts=self._facts(spec, read) if read else {},
        )

    async def _ask_loki(self, spec: LogSignatureSpec, read: _Read | None, way: Way) -> _Read | None:
        if spec.loki is None or read is None:
            return read
        try:
            async with way.bounded():
                return replace(
                    read, loki=await spec.loki.counts(spec.signatures, spec.within_seconds, self._context.tls, way)
                )
        except Stopped as stopped:
            return replace(read, loki_fault=stopped.detail)

    async def _read(self, check: Check, spec: LogSignatureSpec, deadline: float) -> _Read | None:
        """Read on from what is remembered, and remember what was read, or neither. None without a memory."""
        notebook = self._context.notebook
        if notebook is None:
            return None
        arrived = self._context.drain.fetch(check.name, spec.signatures) if spec.drain else Arrived()
        remembered = False
        try:
            for _ in range(TRIES):
                read = await self._try(notebook, check, spec, arrived, deadline)
                if read is not None:
                    remembered = True
                    return read
        except StateUnavailable:
            return None
        finally:
            if not remembered:
                self._context.drain.give_back(check.name, arrived)
        return None

    async def _try(
        self, notebook: Notebook, check: Check, spec: LogSignatureSpec, arrived: Arrived, deadline: float
    ) -> _Read | None:
        name, clock = f"log {check.name}", self._context.clock
        kept = await notebook.recall(name)
        before = _recalled(kept.body) if kept else LogMemory()
        read = await asyncio.to_thread(self._follow, spec, before, deadline)
        now = int(clock.now().timestamp())
        memory = replace(
            read.memory, since=before.since or now, counts=read.memory.added(now, read.new, spec.slice_seconds)
        )
        for second, counts in arrived.counts.items():
            memory = replace(memory, counts=memory.added(second, counts, spec.slice_seconds))
        if arrived.last_at is not None:
            memory = replace(memory, drained_at=max(memory.drained_at, int(arrived.last_at.timestamp())))
        keys = [signature.key for signature in spec.signatures]
        text = memory.text(keys, now - spec.within_seconds, spec.slice_seconds)
        if not await notebook.keep(name, text, kept.version if kept else 0, clock.now()):
            return None
        return replace(read, memory=memory, new=merged(read.new, *arrived.counts.values()))

    def _follow(self, spec: LogSignatureSpec, before: LogMemory, deadline: float) -> _Read:
        counter, clock = Counter(spec.signatures), self._context.clock
        allowance = Allowance(BYTES_AT_MOST, lambda: clock.monotonic() > deadline)
        files, followed = dict(before.files), {}
        for path in spec.files:
            name = f"{self._context.place}:{path}"
            found = follow(path, before.files.get(name), counter.feed, allowance)
            followed[str(path)] = found
            if found.position is not None:
                files[name] = found.position
        return _Read(
            memory=replace(before, files=files),
            new=counter.counts,
            followed=followed,
            bytes_read=counter.bytes_read,
        )

    def _judge(self, spec: LogSignatureSpec, read: _Read | None) -> tuple[LogSignatureReason, str]:
        """What was seen too often is certain, whatever else was not read; without it everything must have been."""
        if read is None:
            return LogSignatureReason.LOCAL_FAULT, "what was read cannot be remembered, so nothing was"
        now = self._context.clock.now().timestamp()
        often = [sought.name for sought in spec.signatures if read.seen(sought, spec, now) > sought.at_most]
        if often:
            return LogSignatureReason.SIGNATURE_SEEN, f"more often than allowed: {', '.join(often)}"
        unread = _unread(read.followed)
        if unread is not None:
            return unread
        if read.loki_fault:
            return LogSignatureReason.LOKI_UNREAD, read.loki_fault
        heard = max(read.memory.drained_at, read.memory.since)
        if spec.drain and spec.silent_after_seconds is None and not read.memory.drained_at:
            return LogSignatureReason.DRAIN_SILENT, "nothing was ever drained"
        if spec.silent_after_seconds is not None and now - heard > spec.silent_after_seconds:
            return LogSignatureReason.DRAIN_SILENT, f"nothing was drained for {now - heard:.0f} s"
        return LogSignatureReason.OK, ""

    def _facts(self, spec: LogSignatureSpec, read: _Read) -> dict[str, JSON]:
        now = self._context.clock.now().timestamp()
        signatures: dict[str, JSON] = {
            signature.name: {
                "new": read.new.get(signature.key, 0),
                "within": read.seen(signature, spec, now),
            }
            for signature in spec.signatures
        }
        return {"signatures": signatures, "bytes_read": read.bytes_read}


def _unread(followed: Mapping[str, Followed]) -> tuple[LogSignatureReason, str] | None:
    """Return what kept a file from being read to its end, or None."""
    for path, found in followed.items():
        if found.fault:
            return LogSignatureReason(found.fault), path
    for path, found in followed.items():
        if found.lost:
            return LogSignatureReason.LINES_LOST, f"{path}: it went away, and the rest of it was not found beside it"
        if found.behind:
            return LogSignatureReason.BEHIND, f"{path}: there is more than one look reads"
    return None


def _notes(read: _Read | None, reason: LogSignatureReason) -> tuple[str, ...]:
    """Tell what was not read beside a reason that was certain without it."""
    if read is None:
        return ()
    found = [followed.fault for followed in read.followed.values() if followed.fault]
    found += [LogSignatureReason.LINES_LOST.value for followed in read.followed.values() if followed.lost]
    found += [LogSignatureReason.BEHIND.value for followed in read.followed.values() if followed.behind]
    found += [LogSignatureReason.LOKI_UNREAD.value] if read.loki_fault else []
    return tuple(note for note in dict.fromkeys(found) if note != reason.value)


def _recalled(text: str) -> LogMemory:
    try:
        return log_memory(text)
    except (ValueError, KeyError, TypeError, AttributeError):
        return LogMemory()  # of another version: begin anew, at the ends of the files
