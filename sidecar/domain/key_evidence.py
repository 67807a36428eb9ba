"""What the steps S1 to S8 of design 40-supabase.md C2 saw. Holds no key, no row value and no whole body."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sidecar.domain.key_lint import KeyLint
from sidecar.domain.reasons import ServiceKeyReason
from sidecar.domain.rule import Table
from sidecar.errors import Unreached

Hit: TypeAlias = tuple[ServiceKeyReason, str] | None  # a row of the decision table that matched: reason and detail

_CODE = re.compile(r"^[A-Za-z0-9_]{1,16}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request and what came of it: either a `status` or the `cause` why no whole answer arrived.

    `code`, `message` and `hint` come from the body as they arrived (`error_code` and `msg` in GoTrue's; a short plain
    text is a message). `headers` are only the relevant ones, lower-case; `media` is the body's type.
    `rows` counts a JSON array, None when the body is none.
    `total` is what Content-Range (or X-Total-Count) claims. `matches` says whether the one row is the row asked for.
    """

    name: str
    status: int | None = None
    cause: Unreached | None = None
    code: str = ""
    message: str = ""
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = ""
    is_html: bool = False
    rows: int | None = None
    total: int | None = None
    matches: bool = False
    retry_after_seconds: float | None = None

    def says(self, *words: str) -> bool:
        """Tell whether message or hint contain one of `words`, whatever the case: gateway texts change."""
        text = f"{self.message}\n{self.hint}".casefold()
        return any(word.casefold() in text for word in words)

    def __str__(self) -> str:
        """Render for a detail: the status, and a code short enough to hold no secret."""
        code = self.code if _CODE.match(self.code) else ""
        return f"{self.name}: {self.cause or self.status} {code}".rstrip()

    @property
    def is_read(self) -> bool:
        """An array arrived, whole or as the first part of more."""
        return self.status in (200, 206) and self.rows is not None

    @property
    def visible(self) -> int:
        """How many rows the role sees, as far as this answer tells; 0 unless it is a read."""
        return max(self.rows or 0, self.total or 0) if self.is_read else 0

    @property
    def is_hidden(self) -> bool:
        """The role was answered, and saw nothing."""
        return self.is_read and self.visible == 0

    @property
    def is_denied(self) -> bool:
        """The request ran as the anonymous role, which holds no grant."""
        return self.status == 401 and self.code == "42501"

    @property
    def is_forbidden(self) -> bool:
        """The request ran as a role of its own, which may not."""
        return self.status == 403 and self.code == "42501"

    @property
    def is_closed(self) -> bool:
        """Nothing was shown, and it is known why: no row is visible, or the role holds no grant."""
        return self.is_hidden or self.is_denied or self.is_forbidden

    @property
    def contradicts_itself(self) -> bool:
        """The body holds another number of rows than the same answer counts, for a first page of one row."""
        if not self.is_read or self.total is None or self.rows is None:
            return False
        return self.rows > self.total or self.rows == 0 < self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Bypass:
    """What the probe function says inside the database. `active` maps a table to `row_security_active`."""

    user: str
    bypass: bool
    active: Mapping[str, bool]

    @property
    def agrees(self) -> bool:
        """The role is service_role, bypasses RLS, and RLS is inactive for it on every table."""
        return self.user == "service_role" and self.bypass and not any(self.active.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSight:
    """One table as both roles see it. `is_public`: anon may see its rows."""

    table: Table
    is_public: bool
    service: Step
    anon: Step | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSight:
    """S7: what the canary user saw. Without a session, nothing but `sign_in` was made.

    `own` is the user's profile, `others` are rows that belong to somebody else. `control` and `control_own` repeat
    the first of `others` and `own` with the service key as `apikey` and the user's token as `Authorization`: rights
    follow the token, so they must end as the user's own did. A check that cannot come out closed proves nothing.
    """

    sign_in: Step | None = None
    own: Step | None = None
    others: tuple[Step, ...] = ()
    control: Step | None = None
    control_own: Step | None = None

    def steps(self) -> Iterator[Step]:
        """Yield every step that was made, in order."""
        singles = (self.sign_in, self.own, *self.others, self.control, self.control_own)
        yield from (step for step in singles if step is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSight:
    """S8: the canary's own row written as service, then as anon, and read back as service.

    `written.matches` says that the one row came back as it was sent, `read_back.matches` that it still is.
    """

    written: Step
    by_anon: Step | None = None
    read_back: Step | None = None

    def steps(self) -> Iterator[Step]:
        """Yield every step that was made, in order."""
        yield from (step for step in (self.written, self.by_anon, self.read_back) if step is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything one look saw. A step that was not made is None; without `wire`, nothing was sent at all.

    `key_set` is Auth's public key set, asked for where S1 was answered as only a gateway of one's own answers.
    `root` is the fallback of `admin`, with `anon_root` as its control. `rpc` is None when no probe function is
    configured; `bypass` is None unless it answered as expected. `profiles` names the table whose rows are compared with
    the number of auth users. `user` and `write` are the optional steps S7 and S8.
    `by_witness`: the row of S2 and S3 is a witness of the product's own, not the fixture's canary.
    """

    lint: KeyLint
    wire: Step | None = None
    key_set: Step | None = None
    anon_canary: Step | None = None
    service_canary: Step | None = None
    admin: Step | None = None
    root: Step | None = None
    anon_root: Step | None = None
    tables: tuple[TableSight, ...] = ()
    rpc: Step | None = None
    bypass: Bypass | None = None
    profiles: Table | None = None
    by_witness: bool = False
    user: UserSight | None = None
    write: WriteSight | None = None

    def steps(self) -> Iterator[Step]:
        """Yield every step that was made, in order."""
        auth = (self.admin, self.root, self.anon_root)
        singles = (self.wire, self.key_set, self.anon_canary, self.service_canary, *auth)
        yield from (step for step in singles if step is not None)
        for sight in self.tables:
            yield sight.service
            if sight.anon is not None:
                yield sight.anon
        if self.rpc is not None:
            yield self.rpc
        if self.user is not None:
            yield from self.user.steps()
        if self.write is not None:
            yield from self.write.steps()

    def service_reads(self) -> Iterator[Step]:
        """Yield S3 and the service half of S5."""
        if self.service_canary is not None:
            yield self.service_canary
        yield from (sight.service for sight in self.tables)

    def anon_reads(self) -> Iterator[Step]:
        """Yield S2 and the anon half of S5."""
        if self.anon_canary is not None:
            yield self.anon_canary
        yield from (sight.anon for sight in self.tables if sight.anon is not None)

    @property
    def credential(self) -> Step | None:
        """The read that shows whether the key is accepted: S3, or the first table where no row is known."""
        return next(self.service_reads(), None)

    @property
    def is_anon_alive(self) -> bool:
        """The anon probe can see at all, so that "sees nothing" means hidden.

        The canary's answer proves it; where anon holds no grant on the canary, any other answered read does.
        """
        canary = self.anon_canary
        if canary is None:
            return False
        if canary.is_denied:
            return any(sight.anon is not None and sight.anon.is_read for sight in self.tables)
        return canary.is_read
