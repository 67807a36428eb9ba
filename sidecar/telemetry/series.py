"""What the exposition is made of: families, counters, and gauges whose series exist only while their value is known.

prometheus_client's own Gauge makes a series with the value 0 first and sets it afterwards. A scrape runs in another
thread and can fall between the two, and a 0 that was never seen is the one thing that must not be told here.
"""

import bisect
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

Labels: TypeAlias = tuple[str, ...]


class Shape(StrEnum):
    """The types of Prometheus that are used here."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its full name, its label names in order, and what it says. `buckets` are seconds."""

    name: str
    shape: Shape
    labels: Labels
    help: str
    buckets: tuple[float, ...] = ()


class Gauges:
    """The series of one gauge. One thread writes; any thread may collect."""

    def __init__(self, family: Family, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start without any series."""
        self._family = family
        self._monotonic = monotonic
        # By first label, so that one more look changes the series of its check and copies no others.
        self._groups: dict[str, Mapping[Labels, float]] = {}
        self._until: dict[Labels, float] = {}

    def put(self, labels: Labels, value: float) -> None:
        """Set one series, which exists from then on."""
        first, rest = labels[:1], labels[1:]
        group = "".join(first)
        self._groups[group] = {**self._groups.get(group, {}), rest: value} if rest else {rest: value}

    def expire(self, prefix: Labels, until: float) -> None:
        """Leave series out whose labels begin with `prefix` once the clock has passed `until`; a later call counts."""
        self._until[prefix] = until  # in place: this happens at every look of every check

    def replace(self, prefix: Labels, series: Mapping[Labels, float]) -> None:
        """Make `series` the only ones whose labels begin with `prefix`; their keys are the labels after it.

        A scrape sees all of the old series or all of the new ones: one assignment changes them.
        """
        if len(prefix) == 1:
            self._groups[prefix[0]] = {labels: value for labels, value in series.items()}  # noqa: C416  # a copy, as below
            return
        if prefix:
            first, rest = prefix[0], prefix[1:]
            kept = {key: value for key, value in self._groups.get(first, {}).items() if key[: len(rest)] != rest}
            self._groups[first] = {**kept, **{(*rest, *labels): value for labels, value in series.items()}}
            return
        groups: dict[str, dict[Labels, float]] = {}
        for labels, value in series.items():
            groups.setdefault("".join(labels[:1]), {})[labels[1:]] = value
        self._groups = dict(groups)

    def drop(self, *prefix: str) -> None:
        """Remove every series whose labels begin with `prefix`."""
        self.replace(prefix, {})

    def forget(self, label: str, value: str) -> None:
        """Remove every series in which a label has this value."""
        place = self._family.labels.index(label)
        if place == 0:
            self._groups.pop(value, None)
        for group, series in list(self._groups.items()):
            self._groups[group] = {rest: kept for rest, kept in series.items() if (group, *rest)[place] != value}
        self._until = {labels: at for labels, at in self._until.items() if labels[place : place + 1] != (value,)}

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""
        return [self._made([])]

    def collect(self) -> Iterable[Metric]:
        """Return the family with the series of this instant, without what is stale by now."""
        groups, now = list(self._groups.items()), self._monotonic()  # at once: the other thread goes on meanwhile
        stale = tuple(prefix for prefix, until in self._until.copy().items() if until < now)
        named = bool(self._family.labels)
        series = [((group, *rest) if named else (), value) for group, of in groups for rest, value in of.items()]
        if stale:
            series = [(k, v) for k, v in series if not any(k[: len(prefix)] == prefix for prefix in stale)]
        return [self._made(series)]

    def _made(self, series: Iterable[tuple[Labels, float]]) -> Metric:
        made = GaugeMetricFamily(self._family.name, self._family.help, labels=self._family.labels)
        for labels, value in sorted(series):
            made.add_metric(labels, value)
        return made


class Counters:
    """The series of one counter. One thread counts; any thread may collect.

    prometheus_client's own Counter keeps about a kilobyte for each series, most of which are 0 for ever.
    """

    def __init__(self, family: Family) -> None:
        """Start without any series."""
        self._family = family
        self._series: dict[Labels, float] = {}

    def count(self, labels: Labels, amount: float) -> None:
        """Add to one series, which exists from then on. Raises: ValueError for less than nothing."""
        if amount < 0:
            raise ValueError("counters only rise")
        self._series[labels] = self._series.get(labels, 0.0) + amount

    def forget(self, label: str, value: str) -> None:
        """Remove every series in which a label has this value."""
        place = self._family.labels.index(label)
        self._series = {labels: kept for labels, kept in self._series.items() if labels[place] != value}

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""
        return [self._made([])]

    def collect(self) -> Iterable[Metric]:
        """Return the family with the series of this instant."""
        return [self._made(list(self._series.items()))]

    def _made(self, series: Iterable[tuple[Labels, float]]) -> Metric:
        made = CounterMetricFamily(self._family.name, self._family.help, labels=self._family.labels)
        for labels, value in series:
            made.add_metric(labels, value)
        return made


@dataclass(frozen=True, slots=True)
class Count:
    """One series of a counter."""

    counters: Counters
    labels: Labels

    def inc(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.counters.count(self.labels, amount)


class Histograms:
    """The series of one histogram. One thread observes; any thread may collect. As lean as `Counters`."""

    def __init__(self, family: Family) -> None:
        """Start without any series."""
        self._family = family
        self._bounds = (*family.buckets, math.inf)
        self._names: tuple[str, ...] = tuple(map(floatToGoString, self._bounds))
        self._series: dict[Labels, Histogram] = {}

    def series(self, labels: Labels) -> "Histogram":
        """Return one series, which exists from then on."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Histogram(self._bounds)
        return found

    def forget(self, label: str, value: str) -> None:
        """Remove every series in which a label has this value."""
        place = self._family.labels.index(label)
        self._series = {labels: kept for labels, kept in self._series.items() if labels[place] != value}

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""
        return [self._made([])]

    def collect(self) -> Iterable[Metric]:
        """Return the family with the series of this instant."""
        return [self._made(list(self._series.items()))]

    def _made(self, series: "Iterable[tuple[Labels, Histogram]]") -> Metric:
        made = HistogramMetricFamily(self._family.name, self._family.help, labels=self._family.labels)
        for labels, one in series:
            counts = itertools.accumulate(one.counts.copy())
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for place, (name, count) in enumerate(zip(self._names, counts, strict=True)):
                exemplar = one.exemplars.get(place)
                buckets.append((name, float(count)) if exemplar is None else (name, float(count), exemplar))
            made.add_metric(labels, buckets, one.sum)
        return made


class Histogram:
    """One series of a histogram; the last exemplar of each bucket is kept."""

    __slots__ = ("_bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Start at 0; `bounds` are the upper ones, ascending, infinity the last."""
        self._bounds = bounds
        self.counts = [0] * len(bounds)
        self.exemplars: dict[int, Exemplar] = {}
        self.sum = 0.0

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count a value, and remember what it is an example of."""
        place = bisect.bisect_left(self._bounds, value)
        self.counts[place] += 1
        self.sum += value
        if exemplar is not None:
            self.exemplars = {**self.exemplars, place: Exemplar(dict(exemplar), value, time.time())}


class Exposition:
    """A collector of every family of a catalogue, in its order."""

    def __init__(self, families: Iterable[Family], monotonic: Callable[[], float] = time.monotonic) -> None:
        """Make every family's instrument, unregistered: whoever owns the registry registers this as a whole."""
        self._monotonic = monotonic
        self._gauges: dict[str, Gauges] = {}
        self._counters: dict[str, Counters] = {}
        self._histograms: dict[str, Histograms] = {}
        self._order: list[Gauges | Counters | Histograms] = []
        self._families = tuple(families)
        for family in self._families:
            self._order.append(self._make(family))

    def _make(self, family: Family) -> Gauges | Counters | Histograms:
        match family.shape:
            case Shape.GAUGE:
                return self._gauges.setdefault(family.name, Gauges(family, self._monotonic))
            case Shape.COUNTER:
                return self._counters.setdefault(family.name, Counters(family))
            case Shape.HISTOGRAM:
                return self._histograms.setdefault(family.name, Histograms(family))

    def gauge(self, family: Family) -> Gauges:
        """Return a gauge of the catalogue."""
        return self._gauges[family.name]

    def counter(self, family: Family, *labels: str) -> Count:
        """Return one series of a counter; asking for it makes it exist, as 0."""
        counters = self._counters[family.name]
        counters.count(labels, 0.0)
        return Count(counters, labels)

    def histogram(self, family: Family, *labels: str) -> Histogram:
        """Return one series of a histogram; asking for it makes it exist, as 0."""
        return self._histograms[family.name].series(labels)

    def forget(self, label: str, value: str) -> None:
        """Remove every series in which a label has this value, of whatever shape. Other counters go on."""
        for family, instrument in zip(self._families, self._order, strict=True):
            if label not in family.labels:
                continue
            instrument.forget(label, value)

    def describe(self) -> Iterator[Metric]:
        """Return every family without samples."""
        for instrument in self._order:
            yield from instrument.describe()

    def collect(self) -> Iterator[Metric]:
        """Return every family with its samples, in the catalogue's order."""
        for instrument in self._order:
            yield from instrument.collect()
