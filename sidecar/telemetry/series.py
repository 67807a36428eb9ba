"""What the exposition is made of: families, and gauges whose series exist only while their value is known.

prometheus_client's own Gauge makes a series with the value 0 first and sets it afterwards. A scrape runs in another
thread and can fall between the two, and a 0 that was never seen is the one thing that must not be told here.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

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
        self._series: Mapping[Labels, float] = {}
        self._until: dict[Labels, float] = {}

    def put(self, labels: Labels, value: float) -> None:
        """Set one series, which exists from then on."""
        self._series = {**self._series, labels: value}

    def expire(self, prefix: Labels, until: float) -> None:
        """Leave series out whose labels begin with `prefix` once the clock has passed `until`; a later call counts."""
        self._until[prefix] = until  # in place: this happens at every look of every check

    def replace(self, prefix: Labels, series: Mapping[Labels, float]) -> None:
        """Make `series` the only ones whose labels begin with `prefix`; their keys are the labels after it.

        A scrape sees all of the old series or all of the new ones: one assignment changes them.
        """
        kept = {labels: value for labels, value in self._series.items() if labels[: len(prefix)] != prefix}
        self._series = {**kept, **{(*prefix, *labels): value for labels, value in series.items()}}

    def drop(self, *prefix: str) -> None:
        """Remove every series whose labels begin with `prefix`."""
        self.replace(prefix, {})

    def forget(self, label: str, value: str) -> None:
        """Remove every series in which a label has this value."""
        place = self._family.labels.index(label)
        self._series = {labels: kept for labels, kept in self._series.items() if labels[place] != value}
        self._until = {labels: at for labels, at in self._until.items() if labels[place : place + 1] != (value,)}

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""
        return [self._made({})]

    def collect(self) -> Iterable[Metric]:
        """Return the family with the series of this instant, without what is stale by now."""
        series, now = self._series, self._monotonic()
        stale = [prefix for prefix, until in self._until.copy().items() if until < now]
        if stale:
            series = {k: v for k, v in series.items() if not any(k[: len(prefix)] == prefix for prefix in stale)}
        return [self._made(series)]

    def _made(self, series: Mapping[Labels, float]) -> Metric:
        made = GaugeMetricFamily(self._family.name, self._family.help, labels=self._family.labels)
        for labels, value in sorted(series.items()):
            made.add_metric(labels, value)
        return made


class Exposition:
    """A collector of every family of a catalogue, in its order."""

    def __init__(self, families: Iterable[Family], monotonic: Callable[[], float] = time.monotonic) -> None:
        """Make every family's instrument, unregistered: whoever owns the registry registers this as a whole."""
        self._monotonic = monotonic
        self._gauges: dict[str, Gauges] = {}
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._families = tuple(families)
        self._order = [self._make(family) for family in self._families]

    def _make(self, family: Family) -> Gauges | Counter | Histogram:
        match family.shape:
            case Shape.GAUGE:
                return self._gauges.setdefault(family.name, Gauges(family, self._monotonic))
            case Shape.COUNTER:
                counter = Counter(family.name, family.help, family.labels, registry=None)
                return self._counters.setdefault(family.name, counter)
            case Shape.HISTOGRAM:
                histogram = Histogram(family.name, family.help, family.labels, buckets=family.buckets, registry=None)
                return self._histograms.setdefault(family.name, histogram)

    def gauge(self, family: Family) -> Gauges:
        """Return a gauge of the catalogue."""
        return self._gauges[family.name]

    def counter(self, family: Family, *labels: str) -> Counter:
        """Return one series of a counter; asking for it makes it exist, as 0."""
        return self._counters[family.name].labels(*labels)

    def histogram(self, family: Family, *labels: str) -> Histogram:
        """Return one series of a histogram."""
        return self._histograms[family.name].labels(*labels)

    def forget(self, label: str, value: str) -> None:
        """Remove every series in which a label has this value, of whatever shape. Other counters go on."""
        for family, instrument in zip(self._families, self._order, strict=True):
            if label not in family.labels:
                continue
            if isinstance(instrument, Gauges):
                instrument.forget(label, value)
            else:
                instrument.remove_by_labels({label: value})

    def describe(self) -> Iterator[Metric]:
        """Return every family without samples."""
        for instrument in self._order:
            yield from instrument.describe()

    def collect(self) -> Iterator[Metric]:
        """Return every family with its samples, in the catalogue's order."""
        for instrument in self._order:
            for metric in instrument.collect():
                # When a series was made says nothing that its own reset does not say, and doubles the lines.
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
                yield metric
