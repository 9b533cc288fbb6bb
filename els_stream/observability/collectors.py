"""Collectors that read their values from a source at each scrape, so that no value is stale."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Protocol, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from els_stream.db.engine import PoolUsage
from els_stream.handlers.recount import RepairKind
from els_stream.kafka.offsets import PartitionLag
from els_stream.observability import metric_definitions as definitions
from els_stream.observability.health import Code
from els_stream.observability.metric_definitions import Definition
from els_stream.queries.stats import PurgeStats, Stats

LabelT = TypeVar("LabelT", bound=str)


class RelayCounts(Protocol):
    """The fields of RelayStatus that are metrics."""

    @property
    def shards(self) -> int: ...
    @property
    def members(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def acked(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def errors(self) -> Collection[str]: ...


class LagCollector(Collector):
    """The lag of the assigned partitions, and what can't be read of them."""

    def __init__(self, source: Callable[[], Iterable[PartitionLag]]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        lags = {(lag.topic, str(lag.partition)): lag for lag in self._source()}
        yield gauge(definitions.LAG_RECORDS, {tp: lag.records for tp, lag in lags.items()})
        yield gauge(definitions.UNREADABLE_RECORDS, {tp: lag.unreadable for tp, lag in lags.items()})
        yield gauge(
            definitions.OPEN_TRANSACTION_SECONDS, {tp: lag.open_transaction_seconds for tp, lag in lags.items()}
        )


class TaskCollector(Collector):
    """The tasks of the event loop that serves the scrape; there is no metric outside of one."""

    def collect(self) -> Iterator[Metric]:
        with suppress(RuntimeError):
            yield gauge(definitions.LOOP_TASKS, {(): len(asyncio.all_tasks())})


class HealthCollector(Collector):
    """Whether each reason for not being ready, or not alive, holds."""

    def __init__(self, codes: Callable[[], Collection[Code]]) -> None:
        self._codes = codes

    def collect(self) -> Iterator[Metric]:
        current = self._codes()
        yield gauge(definitions.NOT_READY, {(code.value,): code in current for code in Code})


class RepairsCollector(Collector):
    """The repairs by kind."""

    def __init__(self, source: Callable[[], Mapping[RepairKind, int]]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        yield counter(definitions.REPAIRS, by_label(self._source()))


class CountCollector(Collector):
    """A counter without labels that something else counts."""

    def __init__(self, definition: Definition, source: Callable[[], int]) -> None:
        self._definition, self._source = definition, source

    def collect(self) -> Iterator[Metric]:
        yield counter(self._definition, {(): self._source()})


class RelayCollector(Collector):
    """The relay's counts and failing components."""

    def __init__(self, source: Callable[[], RelayCounts]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        relay = self._source()
        yield gauge(definitions.RELAY_SHARDS, {(): relay.shards})
        yield gauge(definitions.RELAY_MEMBERS, {(): relay.members})
        yield gauge(definitions.RELAY_IN_FLIGHT, {(): relay.in_flight})
        yield gauge(definitions.RELAY_FAILING, {(): len(relay.errors)})
        yield counter(definitions.RELAY_ACKED, {(): relay.acked})
        yield counter(definitions.RELAY_REJECTED, {(): relay.rejected})


class PoolCollector(Collector):
    """The connection pools of a worker, by name."""

    def __init__(self) -> None:
        self.sources: dict[str, Callable[[], PoolUsage]] = {}

    def collect(self) -> Iterator[Metric]:
        pools = {pool: source() for pool, source in self.sources.items()}
        yield gauge(definitions.POOL_SIZE, by_label({pool: usage.size for pool, usage in pools.items()}))
        yield gauge(definitions.POOL_CONNECTIONS, by_label({pool: usage.open for pool, usage in pools.items()}))
        yield gauge(definitions.POOL_CHECKED_OUT, by_label({pool: usage.checked_out for pool, usage in pools.items()}))
        yield gauge(definitions.POOL_WAITING, by_label({pool: usage.waiting for pool, usage in pools.items()}))


class StatsCollector(Collector):
    """Metrics read from the database. `source` returns the last values and their age in seconds.

    Without values there are no metrics: zeros would be wrong.
    """

    def __init__(self, source: Callable[[], tuple[Stats, float] | None]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        if (latest := self._source()) is None:
            return
        stats, age_seconds = latest
        yield gauge(definitions.BATCHES_ACTIVE, by_label(stats.active))
        yield gauge(definitions.BATCHES_COMPLETED, by_label(stats.completed))
        yield counter(definitions.BATCHES_PURGED, by_label(stats.purged))
        yield gauge(definitions.PENDING_EVENTS, by_label(stats.pending))
        yield gauge(definitions.PENDING_OLDEST, {(): stats.pending_oldest_seconds})
        yield gauge(definitions.DEAD_LETTERS, by_label(stats.dead_letters))
        yield gauge(definitions.OUTBOX_ROWS, {(): stats.outbox_rows})
        yield gauge(definitions.OUTBOX_DEFERRED, {(): stats.outbox_deferred})
        yield gauge(definitions.OUTBOX_OLDEST, {(): stats.outbox_oldest_seconds})
        yield gauge(definitions.STATS_AGE, {(): age_seconds})
        yield from purge_metrics(stats.purge)


class LatencyCollector(Collector):
    """A histogram that takes several equal observations in one call, since it observes every published event."""

    def __init__(self, definition: Definition, bounds: Sequence[float]) -> None:
        self._definition, self._bounds = definition, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, times: int) -> None:
        """Add `times` observations of the same value."""
        self._counts[bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times

    def collect(self) -> Iterator[Metric]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._definition.name, self._definition.help, buckets=buckets, sum_value=self._sum)


def purge_metrics(purge: PurgeStats) -> Iterator[Metric]:
    """Yield the metrics of the last purge; before the first one, only whether one runs."""
    yield gauge(definitions.PURGE_RUNNING, {(): purge.running})
    if purge.batches is None or purge.started_at is None:
        return
    yield gauge(definitions.PURGE_LAST_BATCHES, {(): purge.batches})
    yield gauge(definitions.PURGE_LAST_STARTED, {(): purge.started_at})
    yield gauge(definitions.PURGE_LAST_FINISHED, {(): purge.finished})


def gauge(definition: Definition, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    """Build a gauge; the keys of `values` are label values in the order of the definition."""
    family = GaugeMetricFamily(definition.name, definition.help, labels=list(definition.labels))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def counter(definition: Definition, values: Mapping[tuple[str, ...], float]) -> CounterMetricFamily:
    """Build a counter; the keys of `values` are label values in the order of the definition."""
    family = CounterMetricFamily(definition.name, definition.help, labels=list(definition.labels))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def by_label(values: Mapping[LabelT, float]) -> dict[tuple[str, ...], float]:
    """Return the values with keys for a metric of one label."""
    return {(label,): value for label, value in values.items()}
