"""What a soak samples of a worker, its database and its broker, and the table and the picture of that."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from els_stream.demo.workers import DemoWorker
from els_stream.embedded.processes import PROC
from tests.benchmarks import svg
from tests.benchmarks.cpu import Clock, read_clock, stolen
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.histograms import Buckets, bucket_counts, quantile

LATENCY: Final = "els_end_to_end_seconds"
BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system's blocks are
DATABASE: Final = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())::float8 AS "sessions",
           (SELECT sum(n_dead_tup) FROM pg_stat_user_tables)::float8 AS "dead tuples",
           pg_database_size(current_database()) / 1048576.0::float8 AS "database MiB",
           pg_total_relation_size('outbox_segments') / 1048576.0::float8 AS "outbox MiB",
           (SELECT sum(size) FROM pg_ls_waldir())::float8 / 1048576.0 AS "WAL MiB"
"""
GAUGES: Final = {
    "process_open_fds": "descriptors",
    "els_event_loop_tasks": "tasks",
    "els_lag_records": "lag",
    "batches_purged_total": "batches purged",
}
# Of the run: what the end is compared with, and the end. Before that caches and files have not their usual size yet.
EARLY: Final = (1 / 4, 1 / 2)
LATE: Final = (3 / 4, 1.0)


@dataclass(slots=True)
class Sample:
    second: int
    values: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Sampler:
    """Reads everything once an interval."""

    env: BenchmarkEnvironment
    worker: DemoWorker
    http: aiohttp.ClientSession
    pool: asyncpg.Pool
    samples: list[Sample]
    started: float = field(default_factory=time.monotonic)
    _before: Buckets = field(default_factory=dict)
    _clock: tuple[float, Clock] = field(init=False)

    def __post_init__(self) -> None:
        self._clock = self.started, self._read_clock()

    async def sample(self) -> None:
        self.worker.check()
        async with self.http.get(f"{self.worker.web}/metrics") as answer:
            families = list(text_string_to_metric_families(await answer.text()))
        values = dict.fromkeys(GAUGES.values(), 0.0)
        for one in (sample for family in families for sample in family.samples):
            if one.name == "process_resident_memory_bytes":
                values["worker MiB"] = one.value / 2**20
            if one.name in GAUGES:
                values[GAUGES[one.name]] += one.value
        counts = bucket_counts(families, [LATENCY])
        new = {bound: count - self._before.get(LATENCY, {}).get(bound, 0) for bound, count in counts[LATENCY].items()}
        self._before = counts
        values |= {f"latency {label} ms": quantile(new, share) * 1000 for label, share in (("p50", 0.5), ("p99", 0.99))}
        values["threads"] = _threads(self.worker.process.pid)
        values |= {name: float(value) for name, value in dict(await self.pool.fetchrow(DATABASE) or {}).items()}
        values |= self._cores()
        values["Kafka MiB"] = await asyncio.to_thread(_size, self.env.folder / "kafka") / 2**20
        self.samples.append(Sample(round(time.monotonic() - self.started), values))

    def _cores(self) -> dict[str, float]:
        """Return how many cores each kind of process took since the last call, and other machines of the host."""
        then, before = self._clock
        now, clock = self._clock = time.monotonic(), self._read_clock()
        used = clock.since(before)
        return {f"cores of {name}": seconds / (now - then) for name, seconds in used.items()}

    def _read_clock(self) -> Clock:
        """Read the CPU times; the others are children of this process, which sends."""
        trees = {"worker": self.worker.process.pid, "PostgreSQL": self.env.postgres_pid, "Kafka": self.env.kafka_pid}
        others = read_clock({name: [pid] for name, pid in trees.items()})
        return Clock({**others.seconds, "sender": time.process_time(), "other machines": stolen()})


def _threads(pid: int) -> float:
    return float(len(list((PROC / str(pid) / "task").iterdir())))


def _size(folder: Path) -> int:
    """Return the bytes that the files below take on the disk; segments may disappear meanwhile.

    Indexes of segments are sparse: each has room for 10 MiB.
    """
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_blocks * BLOCK_BYTES
            except FileNotFoundError:
                continue
    return total


def summary(samples: Sequence[Sample]) -> Mapping[str, tuple[float, float]]:
    """Return the medians of the parts EARLY and LATE, by name."""
    parts = [[one.values for one in _part(samples, part)] for part in (EARLY, LATE)]
    names = list(samples[-1].values)
    early, late = ({name: median(values[name] for values in part) for name in names} for part in parts)
    return {name: (early[name], late[name]) for name in names}


def _part(samples: Sequence[Sample], part: tuple[float, float]) -> Iterator[Sample]:
    end = samples[-1].second
    return (one for one in samples if part[0] * end <= one.second <= part[1] * end)


def as_table(samples: Sequence[Sample]) -> Table:
    table = Table("", "second quarter", "last quarter", "highest", "last / second")
    for name, (early, late) in summary(samples).items():
        highest = max(one.values[name] for one in samples)
        ratio = f"{late / early:.2f}" if early else ""
        table.add_row(name, f"{early:,.1f}", f"{late:,.1f}", f"{highest:,.1f}", ratio)
    return table


def picture(samples: Sequence[Sample], title: str) -> str:
    lines = {name: [(one.second, one.values[name]) for one in samples] for name in samples[-1].values}
    return svg.strips(title, lines)
