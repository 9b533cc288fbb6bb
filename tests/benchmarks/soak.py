"""`python -m tests.benchmarks.soak`: one worker at half of its peak for an hour, with purges and all timers.

What must not grow with time is sampled: memory, descriptors, threads and tasks of the worker, sessions, dead tuples and
sizes of the database, Kafka's logs, and CPU. Two minutes after batches completed they are made as old as a purge wants
them; Kafka keeps records for two minutes. Tombstones are made old after ten minutes, because deleting one visits what
is left of its essays' rows: after a year vacuum has removed them, and here too it should have. Autovacuum has the
settings of docs/scaling.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
import asyncpg
import click
import uvloop
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.demo.workers import DemoWorker, running_workers
from els_stream.embedded.processes import PROC
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.kafka.admin import admin_client
from els_stream.kafka.topics import TOPICS
from els_stream.tasks import run_every
from tests.benchmarks import latency, svg
from tests.benchmarks.cpu import Clock, read_clock
from tests.benchmarks.environment import BenchmarkEnvironment, benchmark_environment, for_asyncpg
from tests.benchmarks.histograms import Buckets, bucket_counts, quantile
from tests.benchmarks.load import AT_ONCE, Load
from tests.benchmarks.machine import machine
from tests.benchmarks.report import Scale

RESULT: Final = CHECKOUT / ".els" / "soak.json"
SAMPLE_SECONDS: Final = 15.0
# Registrations are sent so many batches ahead of their contents.
AHEAD: Final = 10 * AT_ONCE
LATENCY: Final = "els_end_to_end_seconds"
KAFKA: Final = {"retention.ms": "120000", "segment.ms": "30000", "segment.bytes": str(64 * 2**20)}
PRODUCER: Final = {"linger.ms": 5, "message.timeout.ms": 0, "queue.buffering.max.messages": 1_000_000, "log_level": 0}
WORKER: Final = {"ELS_PURGE_INTERVAL_HOURS": "0.01", "ELS_PURGE_RETENTION_DAYS": "1", "ELS_LOG_LEVEL": "WARNING"}
AGE_SECONDS: Final = 10.0
BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system's blocks are
AGE: Final = (
    """
    UPDATE batch_essay_trackers SET completed_at = completed_at - interval '10 days'
    WHERE state = 'completed' AND completed_at BETWEEN now() - interval '5 days' AND now() - interval '2 minutes'
    """,
    """
    UPDATE batch_essay_trackers SET purged_at = purged_at - interval '4000 days'
    WHERE state = 'purged' AND purged_at BETWEEN now() - interval '5 days' AND now() - interval '10 minutes'
    """,
)
AUTOVACUUM: Final = (
    "ALTER SYSTEM SET autovacuum_naptime = '10s'",
    "ALTER SYSTEM SET autovacuum_vacuum_cost_limit = 2000",
    "SELECT pg_reload_conf()",
)
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
        """Return how many cores each kind of process took since the last call."""
        then, before = self._clock
        now, clock = self._clock = time.monotonic(), self._read_clock()
        used = clock.since(before)
        return {f"cores of {name}": seconds / (now - then) for name, seconds in used.items()}

    def _read_clock(self) -> Clock:
        """Read the CPU times; the others are children of this process, which sends."""
        trees = {"worker": self.worker.process.pid, "PostgreSQL": self.env.postgres_pid, "Kafka": self.env.kafka_pid}
        others = read_clock({name: [pid] for name, pid in trees.items()})
        return Clock({**others.seconds, "sender": time.process_time()})


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


async def run(env: BenchmarkEnvironment, minutes: float, rate: float, samples: list[Sample]) -> None:
    """Send for so many minutes and append samples."""
    load = latency.load_of(rate, minutes * 60)
    async with env.worker_settings() as settings:
        await _expire_soon(settings)
        async with (
            running_workers(settings, 1) as [worker],
            _sampler(env, settings, worker, samples) as sampler,
            asyncio.TaskGroup() as group,
        ):
            for statement in AUTOVACUUM:
                await sampler.pool.execute(statement)
            beside = [
                group.create_task(run_every(AGE_SECONDS, partial(_age, sampler.pool))),
                group.create_task(run_every(SAMPLE_SECONDS, sampler.sample)),
            ]
            await _send(settings, load, rate)
            await latency.until_published(settings, load.contents)
            for task in beside:
                task.cancel()


async def _expire_soon(settings: Settings) -> None:
    """Let Kafka remove records of all topics soon."""
    async with admin_client(settings.broker) as admin:
        for plan in TOPICS:
            config = {**plan.config(1), **KAFKA}
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, settings.topic_prefix + plan.topic, config)]
            )


@asynccontextmanager
async def _sampler(
    env: BenchmarkEnvironment, settings: Settings, worker: DemoWorker, samples: list[Sample]
) -> AsyncIterator[Sampler]:
    async with (
        asyncpg.create_pool(for_asyncpg(settings.database), min_size=1, max_size=2) as pool,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as http,
    ):
        yield Sampler(env, worker, http, pool, samples)


async def _age(pool: asyncpg.Pool) -> None:
    """Let days pass for finished batches and for tombstones."""
    for statement in AGE:
        await pool.execute(statement)


async def _send(settings: Settings, load: Load, rate: float) -> None:
    """Send the registrations and contents by the clock, with librdkafka: it leaves the cores to the service."""
    registered, contents = load.registrations(), load.sent()
    topics = [settings.topic_prefix + topic for topic in (BATCH_REGISTERED, CONTENT_PROVISIONED)]
    producer = Producer({**PRODUCER, "bootstrap.servers": str(settings.broker)})
    started, sent, ahead = time.monotonic(), 0, 0
    while sent < load.contents:
        due = min(load.contents, round((time.monotonic() - started) * rate))
        for one in islice(registered, max(0, due // load.essays_per_batch + AHEAD - ahead)):
            producer.produce(topics[0], one.value, one.key)
            ahead += 1
        for key, value in islice(contents, due - sent):
            producer.produce(topics[1], value, key)
        sent = due
        producer.poll(0)
        await asyncio.sleep(latency.TICK_SECONDS)
    await asyncio.to_thread(producer.flush)


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


@click.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Length of the run.")
@click.option("--rate", type=click.FloatRange(min=1), help="Contents per second; without it half of the peak.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=RESULT, help="Where the result is written.")
@click.option("--svg", "drawing", type=click.Path(path_type=Path), help="Where a picture is written.")
def main(minutes: float, rate: float | None, path: Path, drawing: Path | None) -> None:
    """Let one worker run for an hour and show what grows."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each retry on a new topic
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    os.environ.update(WORKER)
    with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate = rate or runner.run(latency.peak(env, Scale.FULL)) / 2
        about = {"minutes": minutes, "rate": rate, "machine": machine()}
        samples: list[Sample] = []
        try:
            runner.run(run(env, minutes, rate, samples))
        finally:
            if samples:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({**about, "samples": [asdict(one) for one in samples]}, indent=2) + "\n")
    Console(width=120).print(as_table(samples))
    if drawing is not None:
        drawing.write_text(picture(samples, f"One worker, {rate:,.0f} contents/s for {minutes:.0f} minutes"))


if __name__ == "__main__":
    main()
