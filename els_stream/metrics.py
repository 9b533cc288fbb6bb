"""Every metric of a worker, with its meaning; the registry is the caller's, so tests and workers never share one.

Labels come from closed sets, never from an event: a value that is not in its set is counted as `other`. What is true
in the database (see Figures) is the same whichever worker is asked: take `max by (class_type)` of it, never `sum`.
"""

from __future__ import annotations

import platform
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from els_stream.contracts.reasons import DeadLetterReason
from els_stream.contracts.topics import DEAD_LETTER, INPUT_TOPICS, OUTPUT_TOPICS
from els_stream.decisions.outcomes import OUTCOME_LABELS
from els_stream.statements.gauges import Figures
from els_stream.version import VERSION

OTHER: Final = "other"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORDS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)


class RetryCause(StrEnum):
    """Why a micro-batch is tried again: families of SQLSTATE, and what has none."""

    CONNECTION = "connection"
    LOCK = "lock"
    TIMEOUT = "timeout"
    RESOURCES = "resources"
    SCHEMA = "schema"
    SERVER = "server"
    LEDGER = "ledger"
    UNFORESEEN = "unforeseen"


class LedgerDifference(StrEnum):
    """Where Kafka, the group's offset and our ledger did not say the same."""

    GAP = "gap"
    GROUP_AHEAD = "group_ahead"
    GROUP_BEHIND = "group_behind"
    TOPIC_REMADE = "topic_remade"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`records` by positions: the end of the partition less what was handled."""

    topic: str
    partition: int
    records: int


class Labelled(Protocol):
    @property
    def label(self) -> str: ...


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._figures = FiguresCollector()
        self._lag = LagCollector()
        registry.register(self._figures)
        registry.register(self._lag)
        self._events = Closed(
            Counter("els_events", "Input events by what became of them.", ["topic", "outcome"], registry=registry),
            INPUT_TOPICS,
            sorted(OUTCOME_LABELS),
        )
        self._dead_letters = Closed(
            Counter("els_dead_letters", "Dead letters written, by reason.", ["reason"], registry=registry),
            list(DeadLetterReason),
        )
        self._retries = Closed(
            Counter("els_retries", "Micro-batches tried again, by cause.", ["cause"], registry=registry),
            list(RetryCause),
        )
        self._holds = Closed(
            Counter("els_holds", "Times that input was held back until someone helps.", ["cause"], registry=registry),
            list(RetryCause),
        )
        self._differences = Closed(
            Counter(
                "els_ledger_differences",
                "Times that Kafka, the group's offset and the ledger disagreed; the ledger won.",
                ["kind"],
                registry=registry,
            ),
            list(LedgerDifference),
        )
        self._sent = Closed(
            Counter("els_relay_events", "Outbox rows that the broker acknowledged.", ["topic"], registry=registry),
            [*OUTPUT_TOPICS, DEAD_LETTER],
        )
        self._relay_errors = Counter(
            "els_relay_errors", "Times that the relay could not read or send and tried again.", registry=registry
        )
        self._batch_records = Histogram(
            "els_micro_batch_records", "Records handled in one transaction.", buckets=RECORDS, registry=registry
        )
        self._batch_seconds = Histogram(
            "els_micro_batch_seconds",
            "Duration of one micro-batch, from its first statement to the end of its commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self._shares = Gauge(
            "els_relay_shares", "Shares of the outbox that this worker's relay owns.", registry=registry
        )
        build = Gauge("els_build_info", "Always 1; the labels say what runs.", ["version", "python"], registry=registry)
        build.labels(VERSION, platform.python_version()).set(1)

    def events(self, topic: str, outcomes: Iterable[Labelled]) -> None:
        """To be called after the commit: what was rolled back became of nothing."""
        for label, count in Tally(outcome.label for outcome in outcomes).items():
            self._events.inc(count, topic, label)

    def dead_letter(self, reason: DeadLetterReason) -> None:
        self._dead_letters.inc(1, reason)

    def micro_batch(self, records: int, seconds: float) -> None:
        self._batch_records.observe(records)
        self._batch_seconds.observe(seconds)

    def retried(self, cause: RetryCause) -> None:
        self._retries.inc(1, cause)

    def held(self, cause: RetryCause) -> None:
        self._holds.inc(1, cause)

    def ledger_difference(self, kind: LedgerDifference) -> None:
        self._differences.inc(1, kind)

    def watch_lag(self, source: Callable[[], Iterable[PartitionLag]]) -> None:
        """`source` is asked at each scrape: a stalled worker's lag must not go stale with it."""
        self._lag.source = source

    def sent(self, topic: str, count: int = 1) -> None:
        self._sent.inc(count, topic)

    def relay_failed(self) -> None:
        self._relay_errors.inc()

    def relay_shares(self, owned: int) -> None:
        self._shares.set(owned)

    def figures(self, figures: Figures) -> None:
        self._figures.update(figures)


class Closed:
    """A counter whose series all exist from the start, so that a rate over the first event is not lost."""

    def __init__(self, counter: Counter, *allowed: Collection[str]) -> None:
        self._counter = counter
        self._allowed = allowed
        self._series = {values: counter.labels(*values) for values in product(*allowed)}

    def inc(self, amount: int, *values: str) -> None:
        if values not in self._series:
            known = (v if v in allowed else OTHER for v, allowed in zip(values, self._allowed, strict=True))
            self._series[values] = self._counter.labels(*known)
        self._series[values].inc(amount)


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


class FiguresCollector(Collector):
    """Shows nothing before the first reading: no figure is not zero."""

    def __init__(self) -> None:
        self._figures: Figures | None = None
        self._read_at = 0.0

    def update(self, figures: Figures) -> None:
        self._figures, self._read_at = figures, time.monotonic()

    def collect(self) -> Iterator[Metric]:
        if (figures := self._figures) is None:
            return
        active = GaugeMetricFamily(
            "huleedu_batches_active", "Batches registered and not completed.", labels=["class_type"]
        )
        completed = GaugeMetricFamily(
            "huleedu_batches_completed", "Completed batches still kept.", labels=["class_type"]
        )
        purged = CounterMetricFamily("batches_purged", "Batches purged or erased, ever.", labels=["class_type"])
        for family, counts in (active, figures.active), (completed, figures.completed), (purged, figures.purged):
            for class_type, count in counts.items():
                family.add_metric([class_type], count)
        yield from (active, completed, purged)
        parked = GaugeMetricFamily("els_parked_rows", "Events waiting for their batch, by kind.", labels=["kind"])
        for kind, count in figures.parked.items():
            parked.add_metric([kind], count)
        yield parked
        for name, meaning, value in (
            (
                "els_parked_oldest_seconds",
                "Age of the oldest event that waits for its batch.",
                figures.parked_oldest_seconds,
            ),
            ("els_outbox_rows", "Events committed and not yet acknowledged by the broker.", figures.outbox_rows),
            ("els_outbox_held_rows", "Outbox rows that can't be sent as they are.", figures.outbox_held),
            ("els_outbox_oldest_seconds", "Age of the oldest outbox row.", figures.outbox_oldest_seconds),
            ("els_figures_age_seconds", "How long ago these figures were read.", time.monotonic() - self._read_at),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)
