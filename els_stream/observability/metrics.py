"""The metrics of a worker: counters and histograms that it records, and sources that are read at each scrape.

The caller owns the registry, so tests and workers share nothing. `metric_definitions` lists all metrics.
"""

from __future__ import annotations

import platform
import re
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from els_stream.consumer.reporting import BatchTimings, ConsumerEvent
from els_stream.db.engine import PoolUsage
from els_stream.domain.outcomes import Refused
from els_stream.events.contract_fields import FIELDS, VALIDATION_CODE_FIELD
from els_stream.events.input_timestamp import age_seconds
from els_stream.events.topics import VALIDATION_FAILED
from els_stream.handlers.recount import RepairKind
from els_stream.kafka.offsets import PartitionLag
from els_stream.maintenance.scheduler import TimerName
from els_stream.observability import metric_definitions as definitions
from els_stream.observability.collectors import (
    CountCollector,
    HealthCollector,
    LagCollector,
    LatencyCollector,
    PoolCollector,
    RelayCollector,
    RelayCounts,
    RepairsCollector,
    StatsCollector,
    TaskCollector,
)
from els_stream.observability.contract_drift import unknown_codes, violated_fields
from els_stream.observability.health import Code
from els_stream.observability.metric_definitions import DRIVER, RECORDS, SECONDS, SQLSTATE_CLASSES, Definition
from els_stream.queries.stats import Stats
from els_stream.version import VERSION

OTHER: Final = "other"
SQLSTATE: Final = re.compile(r"(?=.*\d)[0-9A-Z]{5}")


class PublishedRow(Protocol):
    """The field of an outbox event that the end-to-end latency needs."""

    @property
    def input_timestamp_low31(self) -> int | None: ...


class Metrics:
    """Implements the metrics interfaces of consumer, timers and relay. `topics` maps each agent to its topic."""

    def __init__(self, registry: CollectorRegistry, topics: Mapping[str, str]) -> None:
        self.registry = registry
        self._topics = topics
        self._events = BoundedCounter(registry, definitions.EVENTS)
        self._failures = BoundedCounter(registry, definitions.BATCH_FAILURES)
        self._failure_causes = BoundedCounter(registry, definitions.BATCH_FAILURE_CAUSES)
        self._dead_letters = BoundedCounter(registry, definitions.CONSUMER_DEAD_LETTERS)
        fields = [(topic, field) for topic, fields in FIELDS.items() for field in sorted(fields)]
        self._violations = BoundedCounter(registry, definitions.CONTRACT_VIOLATIONS, fields)
        self._unknown_values = BoundedCounter(registry, definitions.UNKNOWN_VALUES)
        self._consumer_events = BoundedCounter(registry, definitions.CONSUMER_EVENTS)
        self._timer_items = BoundedCounter(registry, definitions.TIMER_ITEMS)
        self._timer_failures = BoundedCounter(registry, definitions.TIMER_FAILURES)
        self._batch_records = self._histogram(definitions.BATCH_RECORDS, RECORDS)
        self._batch_seconds = self._histogram(definitions.BATCH_SECONDS, SECONDS)
        self._handler_seconds = self._histogram(definitions.HANDLER_SECONDS, SECONDS)
        self._commit_seconds = self._histogram(definitions.COMMIT_SECONDS, SECONDS)
        self._end_to_end = LatencyCollector(definitions.END_TO_END_SECONDS, SECONDS)
        self._pools = PoolCollector()
        registry.register(self._end_to_end)
        registry.register(self._pools)
        registry.register(TaskCollector())
        ProcessCollector(registry=registry)
        build = definitions.BUILD_INFO
        Gauge(build.name, build.help, list(build.labels), registry=registry).labels(
            VERSION, platform.python_version()
        ).set(1)

    def record_batch(self, agent: str, outcomes: Mapping[str, int], records: int, timings: BatchTimings) -> None:
        """Count a committed micro-batch; `outcomes` are counts by label."""
        topic = self._topics.get(agent, OTHER)
        for label, count in outcomes.items():
            self._events.inc(count, topic, label)
        self._batch_records.labels(topic).observe(records)
        self._batch_seconds.labels(topic).observe(timings.total)
        self._handler_seconds.labels(topic).observe(timings.handler)
        self._commit_seconds.labels(topic).observe(timings.commit)

    def record_drift(
        self, agent: str, outcomes: Mapping[str, int], decoded: Sequence[object], results: Sequence[object]
    ) -> None:
        """Count the violations of contracts and the unknown values of a committed micro-batch.

        It looks at single records only where there are dead letters, or records of the topic with such values.
        """
        topic = self._topics.get(agent, OTHER)
        if Refused.label in outcomes or topic == VALIDATION_FAILED:
            for field in violated_fields(results):
                self._violations.inc(1, topic, field)
            if unknown := unknown_codes(decoded):
                self._unknown_values.inc(unknown, topic, VALIDATION_CODE_FIELD)

    def record_failure(self, agent: str, failure_class: str, cause: str) -> None:
        """Count a failed attempt; `cause` is a SQLSTATE, a constraint may follow, or the name of an exception."""
        self._failures.inc(1, self._topics.get(agent, OTHER), failure_class)
        state, _, _ = cause.partition(" ")
        family = SQLSTATE_CLASSES.get(state[:2], OTHER) if SQLSTATE.fullmatch(state) else DRIVER
        self._failure_causes.inc(1, failure_class, family)

    def record_dead_letter(self, agent: str, reason: str) -> None:
        """Count a record that became a dead letter after it failed alone."""
        self._dead_letters.inc(1, self._topics.get(agent, OTHER), reason)

    def record_event(self, event: ConsumerEvent, count: int = 1) -> None:
        self._consumer_events.inc(count, event)

    def timer_done(self, timer: TimerName, count: int) -> None:
        self._timer_items.inc(count, timer)

    def timer_failed(self, timer: TimerName) -> None:
        self._timer_failures.inc(1, timer)

    def record_acks(self, rows: Sequence[PublishedRow], _since: float) -> None:
        """Observe the end-to-end latency of events that the broker acknowledged, if an input record caused them."""
        now = round(time.time() * 1000)
        for timestamp, times in Tally(row.input_timestamp_low31 for row in rows).items():
            if timestamp is not None:
                self._end_to_end.observe(age_seconds(timestamp, now), times)

    def add_health(self, codes: Callable[[], Collection[Code]]) -> None:
        """Show the reasons for which the worker is not ready or not alive."""
        self.registry.register(HealthCollector(codes))

    def add_lag(self, source: Callable[[], Iterable[PartitionLag]]) -> None:
        """Show the lag by partition; read at each scrape, so that a worker that makes no progress shows it grow."""
        self.registry.register(LagCollector(source))

    def add_relay(self, source: Callable[[], RelayCounts]) -> None:
        """Show the relay's counts. A worker without a relay has none of these metrics."""
        self.registry.register(RelayCollector(source))

    def add_pool(self, pool: str, source: Callable[[], PoolUsage]) -> None:
        """Show the use of a connection pool."""
        self._pools.sources[pool] = source

    def add_repairs(self, source: Callable[[], Mapping[RepairKind, int]]) -> None:
        """Show the counts of repairs."""
        self.registry.register(RepairsCollector(source))

    def add_spans(self, given_up: Callable[[], int]) -> None:
        """Show how many trace spans were given up."""
        self.registry.register(CountCollector(definitions.SPANS_GIVEN_UP, given_up))

    def add_log_lines(self, dropped: Callable[[], int]) -> None:
        """Show how many log lines were dropped."""
        self.registry.register(CountCollector(definitions.LOG_LINES_DROPPED, dropped))

    def add_stats(self, source: Callable[[], tuple[Stats, float] | None]) -> None:
        """Show the last stats from the database; `source` returns them with their age in seconds, or None."""
        self.registry.register(StatsCollector(source))

    def _histogram(self, definition: Definition, buckets: Sequence[float]) -> Histogram:
        """Make a histogram with a series for each topic from the start: `rate` would miss the first observations."""
        labels = list(definition.labels)
        histogram = Histogram(definition.name, definition.help, labels, buckets=buckets, registry=self.registry)
        for topic in self._topics.values():
            histogram.labels(topic)
        return histogram


class BoundedCounter:
    """A counter with a series for each allowed combination of label values; any other value counts as `other`.

    All series exist from the start, since `rate` would miss the first event of a new series.
    """

    def __init__(
        self, registry: CollectorRegistry, definition: Definition, series: Iterable[Sequence[str]] | None = None
    ) -> None:
        """Make the series: those given, or all combinations."""
        self._counter = Counter(definition.name, definition.help, list(definition.labels), registry=registry)
        self._allowed = list(definition.labels.values())
        for values in product(*self._allowed) if series is None else series:
            self._counter.labels(*values)

    def inc(self, amount: int, *values: str) -> None:
        """Add to the series of these label values, given in the order of the definition."""
        bounded = (v if v in allowed else OTHER for v, allowed in zip(values, self._allowed, strict=True))
        self._counter.labels(*bounded).inc(amount)
