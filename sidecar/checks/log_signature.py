"""The kind `log_signature`: how often lines of known kinds were written. No line is ever kept, or told."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from sidecar.checks.context import ProbeContext
from sidecar.checks.journey_keys import Keys, Name, to_seconds
from sidecar.checks.log_drain import Arrived
from sidecar.checks.log_memory import SLICES, LogMemory, log_memory
from sidecar.checks.log_tail import Allowance, Followed, follow
from sidecar.checks.signatures import Counter, Signature, compile_pattern, merged
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.reasons import LogSignatureReason
from sidecar.errors import StateUnavailable
from sidecar.sights import Notebook

BYTES_AT_MOST = 16 * 1024 * 1024  # of one look; what is more is read by the next
SIGNATURES_AT_MOST = 50
FILES_AT_MOST = 20
SPARE_SECONDS = 0.5  # of the timeout, for remembering
TRIES = 5  # against others that remember at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSignatureSpec:
    """Parameters of one `log_signature` check. Implements `sidecar.domain.check.CountsSignatures`."""

    files: tuple[Path, ...]
    drain: bool
    within_seconds: int
    silent_after_seconds: float | None
    signatures: tuple[Signature, ...]

    @property
    def slice_seconds(self) -> int:
        """How finely counts are kept in time."""
        return max(1, self.within_seconds // SLICES)

    @property
    def signature_names(self) -> tuple[str, ...]:
        """The closed set of what is counted."""
        return tuple(signature.name for signature in self.signatures)


def _duration(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,6}(s|m|h|d)", text) or not 1 <= to_seconds(text) <= 31 * 86_400:
        raise ValueError("must be a duration such as 30s, 5m, 24h or 7d, at most 31d")
    return text


def _file(text: str) -> str:
    if not text or "\0" in text or text.endswith("/"):
        raise ValueError("must be the path of a file")
    return text


def _literal(text: str) -> str:
    if not text or "\n" in text or "\r" in text:
        raise ValueError("must be text of one line")
    return text


def _pattern(text: str) -> str:
    compile_pattern(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]


class SignatureKeys(Keys):
    """One kind of line: what it contains, what it matches, or both."""

    name: Name
    contains: Annotated[str, AfterValidator(_literal)] | None = None
    matches: Annotated[str, AfterValidator(_pattern)] | None = None
    at_most: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0

    @model_validator(mode="after")
    def _fits(self) -> "SignatureKeys":
        if self.contains is None and self.matches is None:
            raise ValueError("must have contains or matches")
        return self

    def to_signature(self) -> Signature:
        """Return the signature."""
        return Signature(
            name=self.name,
            contains=(self.contains or "").encode(),
            matches=compile_pattern(self.matches) if self.matches is not None else None,
            at_most=self.at_most,
        )


class LogSignatureKeys(Keys):
    """The keys of a `log_signature` check beside the common ones."""

    files: Annotated[list[Annotated[str, AfterValidator(_file)]], Field(max_length=FILES_AT_MOST)] = Field(
        default_factory=list
    )
    drain: bool = False
    within: Duration = "1h"
    silent_after: Duration | None = None
    signatures: Annotated[list[SignatureKeys], Field(min_length=1, max_length=SIGNATURES_AT_MOST)]

    @model_validator(mode="after")
    def _fits(self) -> "LogSignatureKeys":
        if not self.files and not self.drain:
            raise ValueError("must have files, or drain: true")
        if self.silent_after is not None and not self.drain:
            raise ValueError("silent_after is about a drain; a file that is missing is told anyhow")
        names = [signature.name for signature in self.signatures]
        if len(set(names)) != len(names) or len(set(self.files)) != len(self.files):
            raise ValueError("must name each signature and each file once")
        return self

    def to_spec(self) -> LogSignatureSpec:
        """Return the frozen parameters."""
        return LogSignatureSpec(
            files=tuple(map(Path, self.files)),
            drain=self.drain,
            within_seconds=int(to_seconds(self.within)),
            silent_after_seconds=to_seconds(self.silent_after) if self.silent_after else None,
            signatures=tuple(signature.to_signature() for signature in self.signatures),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What one look read, and what is to be remembered of it."""

    memory: LogMemory
    new: Mapping[str, int] = field(default_factory=dict)
    followed: Mapping[str, Followed] = field(default_factory=dict)
    bytes_read: int = 0


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
        read = await self._read(check, spec, deadline)
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
            facts=self._facts(spec, read) if read else {},
        )

    async def _read(self, check: Check, spec: LogSignatureSpec, deadline: float) -> _Read | None:
        """Read on from what is remembered, and remember what was read, or neither. None without a memory."""
        notebook = self._context.notebook
        if notebook is None:
            return None
        arrived = self._context.drain.fetch(check.name) if spec.drain else Arrived()
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
        since = now - spec.within_seconds
        often = [
            signature.name
            for signature in spec.signatures
            if read.memory.seen(signature.key, since, spec.slice_seconds) > signature.at_most
        ]
        if often:
            return LogSignatureReason.SIGNATURE_SEEN, f"more often than allowed: {', '.join(often)}"
        for path, found in read.followed.items():
            if found.fault:
                return LogSignatureReason(found.fault), path
        for path, found in read.followed.items():
            if found.lost:
                return (
                    LogSignatureReason.LINES_LOST,
                    f"{path}: it went away, and the rest of it was not found beside it",
                )
            if found.behind:
                return LogSignatureReason.BEHIND, f"{path}: there is more than one look reads"
        heard = max(read.memory.drained_at, read.memory.since)
        if spec.silent_after_seconds is not None and now - heard > spec.silent_after_seconds:
            return LogSignatureReason.DRAIN_SILENT, f"nothing was drained for {now - heard:.0f} s"
        return LogSignatureReason.OK, ""

    def _facts(self, spec: LogSignatureSpec, read: _Read) -> dict[str, JSON]:
        since = self._context.clock.now().timestamp() - spec.within_seconds
        signatures: dict[str, JSON] = {
            signature.name: {
                "new": read.new.get(signature.key, 0),
                "within": read.memory.seen(signature.key, since, spec.slice_seconds),
            }
            for signature in spec.signatures
        }
        return {"signatures": signatures, "bytes_read": read.bytes_read}


def _notes(read: _Read | None, reason: LogSignatureReason) -> tuple[str, ...]:
    """Tell what was not read beside a reason that was certain without it."""
    if read is None:
        return ()
    found = [followed.fault for followed in read.followed.values() if followed.fault]
    found += [LogSignatureReason.LINES_LOST.value for followed in read.followed.values() if followed.lost]
    found += [LogSignatureReason.BEHIND.value for followed in read.followed.values() if followed.behind]
    return tuple(note for note in dict.fromkeys(found) if note != reason.value)


def _recalled(text: str) -> LogMemory:
    try:
        return log_memory(text)
    except (ValueError, KeyError, TypeError, AttributeError):
        return LogMemory()  # of another version: begin anew, at the ends of the files
