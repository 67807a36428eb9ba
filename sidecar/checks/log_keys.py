"""The keys of a `log_signature` check: where lines come from, and which are counted."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from sidecar.checks.journey_keys import Headers, Name, to_seconds
from sidecar.checks.log_loki import SELECTOR, Loki
from sidecar.checks.log_memory import SLICES
from sidecar.checks.signatures import Signature, compile_pattern
from sidecar.checks.tables import Keys
from sidecar.config.checks import LeftOut
from sidecar.config.fields import is_http_url

SIGNATURES_AT_MOST = 50
FILES_AT_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSignatureSpec:
    """Parameters of one `log_signature` check. Implements `sidecar.domain.check.CountsSignatures`."""

    files: tuple[Path, ...]
    drain: bool
    loki: Loki | None
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
    if "\0" in text or text.endswith("/"):
        raise ValueError("must be the path of a file")
    return text


def _literal(text: str) -> str:
    if not text or "\n" in text or "\r" in text:
        raise ValueError("must be text of one line")
    return text


def _pattern(text: str) -> str:
    compile_pattern(text)
    return text


def _root(text: str) -> str:
    if not is_http_url(text):
        raise ValueError("must be the root of an http or https URL")
    return text


def _selector(text: str) -> str:
    if not SELECTOR.fullmatch(text.strip()):
        raise ValueError('must be a stream selector such as {app="backend"}')
    return text.strip()


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
            pattern=self.matches or "",
            matches=compile_pattern(self.matches) if self.matches is not None else None,
            at_most=self.at_most,
        )


class LokiKeys(Keys):
    """A Loki that is asked for counts."""

    url: Annotated[str, AfterValidator(_root)]
    selector: Annotated[str, AfterValidator(_selector)]
    headers: Headers = Field(default_factory=dict)

    def to_loki(self) -> Loki:
        """Return the source."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        return Loki(url=self.url, selector=self.selector, headers=headers)


class LogSignatureKeys(Keys):
    """The keys of a `log_signature` check beside the common ones."""

    files: Annotated[list[Annotated[str, AfterValidator(_file)]], Field(max_length=FILES_AT_MOST)] = Field(
        default_factory=list
    )
    drain: bool = False
    loki: LokiKeys | None = None
    required: bool = True
    within: Duration = "1h"
    silent_after: Duration | None = None
    signatures: Annotated[list[SignatureKeys], Field(min_length=1, max_length=SIGNATURES_AT_MOST)]

    @model_validator(mode="after")
    def _fits(self) -> "LogSignatureKeys":
        if self.required and not any(self.files) and not self.drain and self.loki is None:
            raise ValueError("must have files, drain: true, or loki")
        if self.silent_after is not None and not self.drain:
            raise ValueError("silent_after is about a drain; a file that is missing is told anyhow")
        names = [signature.name for signature in self.signatures]
        if len(set(names)) != len(names) or len(set(self.files)) != len(self.files):
            raise ValueError("must name each signature and each file once")
        return self

    def to_spec(self) -> LogSignatureSpec | LeftOut:
        """Return the frozen parameters. A file whose name is empty is none."""
        files = tuple(Path(name) for name in self.files if name)
        if not files and not self.drain and self.loki is None:
            return LeftOut("left out; it needs a file, and the names of all are empty")
        return LogSignatureSpec(
            files=files,
            drain=self.drain,
            loki=self.loki.to_loki() if self.loki else None,
            within_seconds=int(to_seconds(self.within)),
            silent_after_seconds=to_seconds(self.silent_after) if self.silent_after else None,
            signatures=tuple(signature.to_signature() for signature in self.signatures),
        )
