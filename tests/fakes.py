"""Written stand-ins for our own ports: a clock moved by hand, data in a dictionary, a reporter that remembers."""

import asyncio
import contextlib
import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias, TypeVar

from sidecar.batches import Landed, Transaction
from sidecar.domain.check import Check, Observation, Verdict
from sidecar.domain.credits import LedgerRow
from sidecar.domain.decide import Refuse
from sidecar.domain.event import Event
from sidecar.domain.finding import horizon
from sidecar.domain.look import Catalogue, Counts, Facts, ReadProof, Sighting, Subject, Unproven
from sidecar.domain.pace import Reading, Signal
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import FromSubject, Rule, Value
from sidecar.errors import WriteRejected
from sidecar.sights import BalanceBook

START = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
E = TypeVar("E")


class FakeClock:
    """Time that only the test moves.

    A lease's renewing task sleeps until `advance`; everybody else's sleep passes at once and moves the clock, so that
    no test waits.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._passed_seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._asleep = asyncio.Event()

    def now(self) -> datetime:
        return START + timedelta(seconds=self._passed_seconds)

    def monotonic(self) -> float:
        return self._passed_seconds

    def advance(self, seconds: float) -> None:
        self._passed_seconds += seconds
        for until, sleeper in self._sleepers:
            if until <= self._passed_seconds and not sleeper.done():
                sleeper.set_result(None)

    async def let_renew(self, seconds: float) -> None:
        """Move on once a renewing task sleeps, so that it wakes."""
        await self._asleep.wait()
        self._asleep.clear()
        self.advance(seconds)

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith("renew "):
            sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.append((self._passed_seconds + seconds, sleeper))
            self._asleep.set()
            await sleeper
            return
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


class RecordingReporter:
    """Remembers every event, and the names of spans."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.spans: list[str] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    @contextlib.contextmanager
    def span(self, name: str, **attributes: str | float | bool) -> Iterator[None]:
        self.spans.append(name)
        assert all(isinstance(value, str | int | float | bool) for value in attributes.values())
        yield

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


class FakeProbe:
    """Answers with the observations it was given, the last one for ever, or fails as it was told."""

    def __init__(self, *answers: Verdict | Exception, reason: str = "") -> None:
        self.looks = 0
        self.retry_after_seconds: float | None = None
        self._answers = deque(answers or (Verdict.HEALTHY,))
        self._reason = reason

    async def __call__(self, check: Check) -> Observation:
        self.looks += 1
        await asyncio.sleep(0)
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        reason = "ok" if answer is Verdict.HEALTHY else self._reason or f"because_{answer}"
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=answer,
            reason=reason,
            taken_at=START,
            duration_seconds=0.25,
            retry_after_seconds=self.retry_after_seconds,
        )


class FakeSwitch:
    """A switch outside of memory, thrown by hand; `asked` counts how often somebody looked at it."""

    def __init__(self) -> None:
        self.refusal: Refuse | None = None
        self.asked = 0
        self.happening: Callable[[], object] = lambda: None

    async def thrown(self) -> Refuse | None:
        self.asked += 1
        self.happening()
        return self.refusal


class FakeSignals:
    """Answers with the readings it was given by name, in order, the last one for ever; 0 for a name it knows not."""

    def __init__(self) -> None:
        self.readings: dict[str, deque[Reading]] = {}
        self.asked: list[str] = []

    async def read(self, signal: Signal) -> Reading:
        self.asked.append(signal.name)
        left = self.readings.get(signal.name, deque([Reading(value=Decimal(0))]))
        return left.popleft() if len(left) > 1 else left[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """A fault that comes once the call has had its effect: the answer is lost, the deed is done."""

    error: BaseException


Step: TypeAlias = BaseException | After | Callable[[], object] | None
Row: TypeAlias = dict[str, Value]


@dataclass
class FakeData:
    """A product's data: evidence by key, subjects by key, and profile rows by key.

    `script[method]` is what befalls the next calls of a method, in order: an error instead of the effect, an error
    `After` it, something that happens just before it, or nothing. `calls` lists (method, keys) of every call.
    """

    clock: FakeClock
    catalogue_seen: Catalogue
    ledger_rows: dict[str, tuple[LedgerRow, ...]] = field(default_factory=dict)
    subjects: dict[str, Subject] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    database: str = "db-1"
    subject_count: int = 1000
    extra_rows: int = 990
    min_age_seconds: float = 900.0
    batch_rows_at_most: int = 100
    unproven: deque[Unproven] = field(default_factory=deque)
    young: list[str] = field(default_factory=list)
    snapshots: list[tuple[str, int]] = field(default_factory=list)
    poison: dict[str, str] = field(default_factory=dict)
    swallowed: set[str] = field(default_factory=set)
    altering: Mapping[str, Value] = field(default_factory=dict)
    emails_taken: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    script: dict[str, deque[Step]] = field(default_factory=lambda: defaultdict(deque))
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    inserted: list[str] = field(default_factory=list)

    def made(self, method: str) -> list[tuple[str, ...]]:
        return [keys for name, keys in self.calls if name == method]

    async def sight(self, rule: Rule, book: BalanceBook, look_id: int) -> Sighting | Unproven:
        lost = await self._begin("sight", ())
        if self.snapshots:
            await book.note(look_id, str(rule.detect.expects.table), self.snapshots, self.clock.now())
        if lost is not None:
            raise lost
        if self.unproven:
            return self.unproven.popleft()
        counts = Counts(
            ledger_rows=sum(map(len, self.ledger_rows.values())) + 1,
            expected_rows=len(self.rows) + self.extra_rows,
            subjects=self.subject_count,
        )
        proof = ReadProof(
            horizon_at=horizon(self.clock.now(), self.min_age_seconds),
            database=self.database,
            counts=counts,
            catalogue=self.catalogue_seen,
        )
        candidates = sorted(key for key in self.ledger_rows if key not in self.rows and key not in self.young)
        return Sighting(proof=proof, candidates=candidates, young=tuple(self.young))

    async def facts(self, rule: Rule, keys: Sequence[str]) -> list[Facts]:
        lost = await self._begin("facts", keys)
        if lost is not None:
            raise lost
        assert any(isinstance(source, FromSubject) for source in rule.repair.values.values())
        return [
            Facts(
                key=key,
                subject=self.subjects.get(key),
                ledger=self.ledger_rows.get(key, ()),
                expected_row=self._shown(key),
                email_taken=key in self.emails_taken,
                version=self.versions.get(key, ""),
            )
            for key in keys
        ]

    async def moved(self, rule: Rule, rows: Sequence[PlanRow]) -> frozenset[str]:
        assert rule.detect.expects.key == "id"
        return frozenset(row.key for row in rows if row.version == "" or row.version != self.versions.get(row.key))

    async def catalogue(self, rule: Rule) -> Catalogue:
        await self._begin("catalogue", (rule.name,))
        return self.catalogue_seen

    async def insert(self, rule: Rule, rows: Sequence[PlanRow], transaction: Transaction | None) -> Landed:
        assert transaction is None, "memory and these data live apart"
        lost = await self._begin("insert", [row.key for row in rows])
        refused = next((row.key for row in rows if row.key in self.poison), None)
        if refused is not None:
            raise WriteRejected("a row was refused", self.poison[refused], 409)
        landed: dict[str, Row] = {}
        for row in rows:
            if row.key in self.rows or row.key in self.swallowed:
                continue
            self.rows[row.key] = {**row.values, **self.altering}
            self.inserted.append(row.key)
            landed[row.key] = dict(self.rows[row.key])
        if lost is not None:
            raise lost
        assert rule.detect.expects.key == "id"
        return Landed(rows=landed)

    async def ledger(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Sequence[LedgerRow]]:
        await self._begin("ledger", keys)
        assert rule.detect.ledger.key == "user_id"
        return {key: self.ledger_rows[key] for key in keys if key in self.ledger_rows}

    async def read_rows(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Mapping[str, Value]]:
        lost = await self._begin("read_rows", keys)
        if lost is not None:
            raise lost
        assert rule.detect.expects.key == "id"
        return {key: dict(self.rows[key]) for key in keys if key in self.rows}

    def _shown(self, key: str) -> Row | None:
        return dict(self.rows[key]) if key in self.rows else None

    async def _begin(self, method: str, keys: Sequence[str]) -> BaseException | None:
        """Note the call and let befall it what the script says; return the error that comes after the effect."""
        self.calls.append((method, tuple(keys)))
        await asyncio.sleep(0)
        steps = self.script[method]
        step = steps.popleft() if steps else None
        if isinstance(step, After):
            return step.error
        if isinstance(step, BaseException):
            raise step
        if step is not None and inspect.isawaitable(happening := step()):
            await happening
        return None

    def spend(self, key: str, amount: int) -> None:
        """Let a user use credits: the backend moves the row and the ledger alike."""
        row = self.ledger_rows[key][-1]
        balance = (row.balance_after or 0) - amount
        at = self.clock.now()
        spent = replace(row, order=(at, "spent"), created_at=at, amount=-amount, balance_after=balance)
        self.ledger_rows[key] = (*self.ledger_rows[key], spent)
        if key in self.rows:
            self.rows[key]["credits_balance"] = balance
