"""Metrics that are asked for at each scrape, of whoever knows: nothing of them goes stale in between unseen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from time import monotonic
from typing import Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from els_stream.db.engine import PoolUsage
from els_stream.handlers.recount import RepairKind
from els_stream.kafka.offsets import PartitionLag
from els_stream.queries.stats import PurgeStats, Stats


class RelayCounts(Protocol):
    """The part of RelayStatus that is shown."""

    @property
    def shards(self) -> int: ...
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


class RepairsCollector(Collector):
    def __init__(self) -> None:
        self.source: Callable[[], Mapping[RepairKind, int]] = lambda: dict.fromkeys(RepairKind, 0)

    def collect(self) -> Iterator[Metric]:
        heals = CounterMetricFamily(
            "els_repairs",
            "What was found ill in the tables and set right, by kind; unrepairable: found ill and left.",
            labels=["kind"],
        )
        for kind, count in self.source().items():
            heals.add_metric([kind], count)
        yield heals


class RelayCollector(Collector):
    def __init__(self) -> None:
        self.source: Callable[[], RelayCounts] | None = None

    def collect(self) -> Iterator[Metric]:
        if self.source is None:
            return
        now = self.source()
        yield GaugeMetricFamily("els_relay_shards", "Shards of the outbox that this worker's relay owns.", now.shards)
        yield GaugeMetricFamily("els_relay_members", "Relays that share the outbox, as this one sees it.", now.relays)
        yield GaugeMetricFamily("els_relay_in_flight", "Events sent and not yet acknowledged.", now.in_flight)
        yield GaugeMetricFamily(
            "els_relay_failing_components", "Parts of the relay that are not working.", len(now.troubles)
        )
        yield CounterMetricFamily("els_relay_acked", "Events that the broker acknowledged.", now.acked)
        yield CounterMetricFamily("els_relay_rejected", "Events that can't be sent as they are.", now.refused)


class LatencyCollector(Collector):
    """A histogram that takes many observations at once, since there is one for every event that leaves."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self._name, self._meaning, self._bounds = name, meaning, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, times: int) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times

    def collect(self) -> Iterator[Metric]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets=buckets, sum_value=self._sum)


class PoolCollector(Collector):
    def __init__(self) -> None:
        self.sources: dict[str, Callable[[], PoolUsage]] = {}

    def collect(self) -> Iterator[Metric]:
        uses = {pool: source() for pool, source in self.sources.items()}
        for name, meaning, part in (
            ("els_pool_size", "Most connections of a pool of this worker.", attrgetter("size")),
            ("els_pool_connections", "Connections that are open.", attrgetter("open")),
            ("els_pool_checked_out", "Connections at work.", attrgetter("checked_out")),
            ("els_pool_waiting", "Who waits for a connection, or for one to open.", attrgetter("waiting")),
        ):
            yield labelled(name, meaning, "pool", {pool: part(use) for pool, use in uses.items()})


class StatsCollector(Collector):
    """Shows nothing before the first reading: no figure is not zero."""

    def __init__(self) -> None:
        self._figures: Stats | None = None
        self._read_at = 0.0

    def update(self, figures: Stats) -> None:
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
        yield labelled("els_pending_events", "Events waiting for their batch, by kind.", "kind", figures.parked)
        yield labelled("els_dead_letters", "Dead letters not settled, by reason.", "reason", figures.dead_letters)
        for name, meaning, value in (
            ("els_pending_oldest_seconds", "Age of the oldest parked event.", figures.parked_oldest_seconds),
            (
                "els_outbox_rows",
                "Events that the broker has not yet, up to 100 000.",
                figures.outbox_rows,
            ),
            ("els_outbox_deferred_rows", "Outbox rows that can't be sent as they are.", figures.outbox_held),
            ("els_outbox_oldest_seconds", "Age of the oldest outbox row.", figures.outbox_oldest_seconds),
            ("els_stats_age_seconds", "How long ago these figures were read.", monotonic() - self._read_at),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)
        yield from of_purge(figures.purge)


def of_purge(purge: PurgeStats) -> Iterator[Metric]:
    yield GaugeMetricFamily("els_purge_running", "1 while a purge is at work, in whatever process.", purge.running)
    if purge.batches is None or purge.started_at is None:
        return
    yield GaugeMetricFamily("els_purge_last_batches", "Batches that the last purge removed, so far.", purge.batches)
    yield GaugeMetricFamily(
        "els_purge_last_started_timestamp_seconds", "When the last purge began, since the epoch.", purge.started_at
    )
    yield GaugeMetricFamily(
        "els_purge_last_finished",
        "1 if the last purge came to its end; 0 while it is at work, or if it was broken off.",
        purge.finished,
    )


def labelled(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
