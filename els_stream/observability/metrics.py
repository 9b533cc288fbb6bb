"""Every metric of a worker, with its meaning; the registry is the caller's, so tests and workers never share one.

Labels come from closed sets, never from an event: a value that is not in its set is counted as `other`. What is true
in the database (see Figures) is the same whichever worker is asked: take `max by (class_type)` of it, never `sum`.
"""

from __future__ import annotations

import platform
import re
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from els_stream.consumer.reporting import BatchTimings, ConsumerEvent
from els_stream.db.engine import PoolUsage
from els_stream.db.errors import FailureClass
from els_stream.domain.outcomes import OUTCOME_LABELS
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.input_timestamp import age_seconds
from els_stream.events.topics import INPUT_TOPICS
from els_stream.handlers.recount import RepairKind
from els_stream.kafka.offsets import PartitionLag
from els_stream.maintenance.scheduler import TimerName
from els_stream.observability.collectors import (
    LagCollector,
    LatencyCollector,
    PoolCollector,
    RelayCollector,
    RelayCounts,
    RepairsCollector,
    StatsCollector,
)
from els_stream.queries.stats import Stats
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


class Stamped(Protocol):
    """The part of an outbox row that is observed."""

    @property
    def input_timestamp_low31(self) -> int | None: ...


class Metrics:
    """What the intake reports to, and what asks the others. `topics` names each agent's topic."""

    def __init__(self, registry: CollectorRegistry, topics: Mapping[str, str]) -> None:
        self.registry = registry
        self._topics = topics
        self._figures = StatsCollector()
        self._lag = LagCollector()
        self._relay = RelayCollector()
        self._heals = RepairsCollector()
        registry.register(self._figures)
        registry.register(self._lag)
        registry.register(self._relay)
        registry.register(self._heals)
        self._pool = PoolCollector()
        registry.register(self._pool)
        self._latency = LatencyCollector(
            "els_end_to_end_seconds",
            "From the timestamp of the record that caused an event to the broker's ack of that event.",
            SECONDS,
        )
        registry.register(self._latency)
        self._events = Closed(
            registry,
            "els_events",
            "Input events by what became of them.",
            {"topic": INPUT_TOPICS, "outcome": sorted(OUTCOME_LABELS)},
        )
        self._failures = Closed(
            registry,
            "els_batch_failures",
            "Micro-batches that failed, by what is done about it; transient: tried again.",
            {"topic": INPUT_TOPICS, "class": list(FailureClass)},
        )
        self._causes = Closed(
            registry,
            "els_batch_failure_causes",
            "The same failures, by cause; those that are transient or timed_out are retries.",
            {"class": list(FailureClass), "cause": [*CAUSES.values(), DRIVER]},
        )
        self._buried = Closed(
            registry,
            "els_consumer_dead_letters",
            "Events buried by the intake, by topic and reason; what a handler refuses is an outcome of els_events.",
            {"topic": INPUT_TOPICS, "reason": [DeadLetterReason.DATABASE_REFUSED, DeadLetterReason.UNPROCESSABLE]},
        )
        self._occurrences = Closed(
            registry,
            "els_consumer_events",
            "What an operator should know of: differences between Kafka and the stored offsets, pauses, rebalances.",
            {"event": list(ConsumerEvent)},
        )
        self._timers = Closed(
            registry,
            "els_timer_items",
            "Batches timed out or purged, events expired, repairs, dead letters removed, by this worker's timers.",
            {"timer": list(TimerName)},
        )
        self._timer_failures = Closed(
            registry, "els_timer_failures", "Rounds of a timer that failed and come again.", {"timer": list(TimerName)}
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
        self._handler_seconds = Histogram(
            "els_handler_seconds",
            "Duration of a micro-batch's handler: facts, claims, outbox rows.",
            ["topic"],
            buckets=SECONDS,
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "els_commit_seconds", "Duration of a micro-batch's commit.", ["topic"], buckets=SECONDS, registry=registry
        )
        build = Gauge("els_build_info", "Always 1; the labels say what runs.", ["version", "python"], registry=registry)
        build.labels(VERSION, platform.python_version()).set(1)

    def record_batch(self, agent: str, outcomes: Mapping[str, int], records: int, timings: BatchTimings) -> None:
        topic = self._topics.get(agent, OTHER)
        for label, count in outcomes.items():
            self._events.inc(count, topic, label)
        self._batch_records.labels(topic).observe(records)
        self._batch_seconds.labels(topic).observe(timings.total)
        self._handler_seconds.labels(topic).observe(timings.handler)
        self._commit_seconds.labels(topic).observe(timings.commit)

    def record_failure(self, agent: str, failure_class: str, cause: str) -> None:
        self._failures.inc(1, self._topics.get(agent, OTHER), failure_class)
        self._causes.inc(1, failure_class, CAUSES.get(cause[:2], OTHER) if SQLSTATE.fullmatch(cause) else DRIVER)

    def record_dead_letter(self, agent: str, reason: str) -> None:
        self._buried.inc(1, self._topics.get(agent, OTHER), reason)

    def record_event(self, event: ConsumerEvent, count: int = 1) -> None:
        self._occurrences.inc(count, event)

    def timer_done(self, timer: TimerName, count: int) -> None:
        self._timers.inc(count, timer)

    def timer_failed(self, timer: TimerName) -> None:
        self._timer_failures.inc(1, timer)

    def watch_heals(self, source: Callable[[], Mapping[RepairKind, int]]) -> None:
        """Asked at each scrape."""
        self._heals.source = source

    def watch_lag(self, source: Callable[[], Iterable[PartitionLag]]) -> None:
        """`source` is asked at each scrape: a stalled worker's lag must not go stale with it."""
        self._lag.source = source

    def watch_relay(self, source: Callable[[], RelayCounts]) -> None:
        """Also asked at each scrape. A worker without a relay shows none of its metrics."""
        self._relay.source = source

    def watch_pool(self, pool: str, source: Callable[[], PoolUsage]) -> None:
        """Also asked at each scrape."""
        self._pool.sources[pool] = source

    def acked(self, rows: Sequence[Stamped], _since: float) -> None:
        """The broker has these events."""
        now = round(time.time() * 1000)
        for stamp, times in Tally(row.input_timestamp_low31 for row in rows).items():
            if stamp is not None:
                self._latency.observe(age_seconds(stamp, now), times)

    def figures(self, figures: Stats) -> None:
        self._figures.update(figures)


class Closed:
    """A counter whose series all exist from the start, so that a rate over the first event is not lost."""

    def __init__(
        self, registry: CollectorRegistry, name: str, meaning: str, labels: Mapping[str, Collection[str]]
    ) -> None:
        self._counter = Counter(name, meaning, list(labels), registry=registry)
        self._allowed = list(labels.values())
        for values in product(*self._allowed):
            self._counter.labels(*values)

    def inc(self, amount: int, *values: str) -> None:
        known = (v if v in allowed else OTHER for v, allowed in zip(values, self._allowed, strict=True))
        self._counter.labels(*known).inc(amount)
