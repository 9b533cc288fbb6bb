"""Every metric of a worker, with its meaning; the registry is the caller's, so tests and workers never share one.

Labels come from closed sets, never from an event: a value that is not in its set is counted as `other`. What is true
in the database (see Figures) is the same whichever worker is asked: take `max by (class_type)` of it, never `sum`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from time import monotonic
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from els_stream.contracts.reasons import DeadLetterReason
from els_stream.contracts.topics import INPUT_TOPICS
from els_stream.decisions.outcomes import OUTCOME_LABELS
from els_stream.intake.failures import Verdict
from els_stream.intake.reports import Occurrence
from els_stream.statements.gauges import Figures
from els_stream.version import VERSION

OTHER: Final = "other"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORDS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)


# The first two letters of a SQLSTATE say what kind of trouble it is.
CAUSES: Final = {
    "08": "connection",
    "22": "data",
    "23": "constraint",
    "28": "authorization",
    "3D": "database_missing",
    "40": "rollback",
    "42": "schema",
    "53": "resources",
    "55": "lock",
    "57": "intervention",
    "58": "system",
    "XX": "internal",
}
DRIVER: Final = "driver"
SQLSTATE: Final = re.compile(r"(?=.*\d)[0-9A-Z]{5}")


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`records` by positions: the end of the partition less what was handled."""

    topic: str
    partition: int
    records: int


class RelayCounts(Protocol):
    """The part of RelayStatus that is shown."""

    @property
    def shares(self) -> int: ...
    @property
    def relays(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def acked(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def troubles(self) -> Collection[str]: ...


class Metrics:
    """What the intake reports to, and what asks the others. `topics` names each agent's topic."""

    def __init__(self, registry: CollectorRegistry, topics: Mapping[str, str]) -> None:
        self.registry = registry
        self._topics = topics
        self._figures = FiguresCollector()
        self._lag = LagCollector()
        self._relay = RelayCollector()
        registry.register(self._figures)
        registry.register(self._lag)
        registry.register(self._relay)
        self._events = Closed(
            registry,
            "els_events",
            "Input events by what became of them.",
            topic=INPUT_TOPICS,
            outcome=sorted(OUTCOME_LABELS),
        )
        self._failures = Closed(
            registry,
            "els_failures",
            "Micro-batches that failed, by what is done about it; transient: tried again.",
            topic=INPUT_TOPICS,
            verdict=list(Verdict),
        )
        self._causes = Closed(
            registry, "els_failure_causes", "The same failures, by cause.", cause=[*CAUSES.values(), DRIVER]
        )
        self._buried = Closed(
            registry,
            "els_buried",
            "Events buried by the intake, by topic and reason; what a handler refuses is an outcome of els_events.",
            topic=INPUT_TOPICS,
            reason=[DeadLetterReason.DATABASE_REFUSED, DeadLetterReason.UNPROCESSABLE],
        )
        self._occurrences = Closed(
            registry,
            "els_intake_occurrences",
            "What an operator should know of: differences between Kafka and the ledger, holds, rebalances.",
            kind=list(Occurrence),
        )
        self._batch_records = Histogram(
            "els_micro_batch_records",
            "Records handled in one transaction.",
            ["topic"],
            buckets=RECORDS,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "els_micro_batch_seconds",
            "Duration of one micro-batch, from its first statement to the end of its commit.",
            ["topic"],
            buckets=SECONDS,
            registry=registry,
        )
        build = Gauge("els_build_info", "Always 1; the labels say what runs.", ["version", "python"], registry=registry)
        build.labels(VERSION, platform.python_version()).set(1)

    def handled(self, agent: str, outcomes: Mapping[str, int], records: int, seconds: float) -> None:
        topic = self._topics.get(agent, OTHER)
        for label, count in outcomes.items():
            self._events.inc(count, topic, label)
        self._batch_records.labels(topic).observe(records)
        self._batch_seconds.labels(topic).observe(seconds)

    def failed(self, agent: str, verdict: str, cause: str) -> None:
        self._failures.inc(1, self._topics.get(agent, OTHER), verdict)
        self._causes.inc(1, CAUSES.get(cause[:2], OTHER) if SQLSTATE.fullmatch(cause) else DRIVER)

    def buried(self, agent: str, reason: str) -> None:
        self._buried.inc(1, self._topics.get(agent, OTHER), reason)

    def occurred(self, occurrence: Occurrence, count: int = 1) -> None:
        self._occurrences.inc(count, occurrence)

    def watch_lag(self, source: Callable[[], Iterable[PartitionLag]]) -> None:
        """`source` is asked at each scrape: a stalled worker's lag must not go stale with it."""
        self._lag.source = source

    def watch_relay(self, source: Callable[[], RelayCounts]) -> None:
        """Also asked at each scrape. A worker without a relay shows none of its metrics."""
        self._relay.source = source

    def figures(self, figures: Figures) -> None:
        self._figures.update(figures)


class Closed:
    """A counter whose series all exist from the start, so that a rate over the first event is not lost."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str, **labels: Collection[str]) -> None:
        self._counter = Counter(name, meaning, list(labels), registry=registry)
        self._allowed = list(labels.values())
        for values in product(*self._allowed):
            self._counter.labels(*values)

    def inc(self, amount: int, *values: str) -> None:
        known = (v if v in allowed else OTHER for v, allowed in zip(values, self._allowed, strict=True))
        self._counter.labels(*known).inc(amount)


class LagCollector(Collector):
    def __init__(self) -> None:
        self.source: Callable[[], Iterable[PartitionLag]] = list

    def collect(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            "els_lag_records",
            "Records not yet handled, of the partitions of this worker.",
            labels=["topic", "partition"],
        )
        for part in self.source():
            lag.add_metric([part.topic, str(part.partition)], part.records)
        yield lag


class RelayCollector(Collector):
    def __init__(self) -> None:
        self.source: Callable[[], RelayCounts] | None = None

    def collect(self) -> Iterator[Metric]:
        if self.source is None:
            return
        now = self.source()
        yield GaugeMetricFamily("els_relay_shares", "Shares of the outbox that this worker's relay owns.", now.shares)
        yield GaugeMetricFamily("els_relay_relays", "Relays that share the outbox, as this one sees it.", now.relays)
        yield GaugeMetricFamily("els_relay_in_flight", "Events sent and not yet acknowledged.", now.in_flight)
        yield GaugeMetricFamily("els_relay_troubles", "Parts of the relay that are not working.", len(now.troubles))
        yield CounterMetricFamily("els_relay_acked", "Events that the broker acknowledged.", now.acked)
        yield CounterMetricFamily("els_relay_refused", "Events that can't be sent as they are.", now.refused)


class FiguresCollector(Collector):
    """Shows nothing before the first reading: no figure is not zero."""

    def __init__(self) -> None:
        self._figures: Figures | None = None
        self._read_at = 0.0

    def update(self, figures: Figures) -> None:
        self._figures, self._read_at = figures, monotonic()

    def collect(self) -> Iterator[Metric]:
        if (figures := self._figures) is None:
            return
        yield labelled("huleedu_batches_active", "Batches registered and not completed.", "class_type", figures.active)
        yield labelled("huleedu_batches_completed", "Completed batches still kept.", "class_type", figures.completed)
        purged = CounterMetricFamily("batches_purged", "Batches purged or erased, ever.", labels=["class_type"])
        for class_type, count in figures.purged.items():
            purged.add_metric([class_type], count)
        yield purged
        yield labelled("els_parked_rows", "Events waiting for their batch, by kind.", "kind", figures.parked)
        yield labelled("els_dead_letters", "Dead letters not settled, by reason.", "reason", figures.dead_letters)
        for name, meaning, value in (
            ("els_parked_oldest_seconds", "Age of the oldest parked event.", figures.parked_oldest_seconds),
            ("els_outbox_rows", "Events committed and not yet acknowledged by the broker.", figures.outbox_rows),
            ("els_outbox_held_rows", "Outbox rows that can't be sent as they are.", figures.outbox_held),
            ("els_outbox_oldest_seconds", "Age of the oldest outbox row.", figures.outbox_oldest_seconds),
            ("els_figures_age_seconds", "How long ago these figures were read.", monotonic() - self._read_at),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)


def labelled(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
