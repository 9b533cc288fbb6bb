"""`python -m tests.benchmarks.soak`: one worker at half of its peak for an hour, with purges and all timers.

What must not grow with time is sampled: memory, descriptors, threads and tasks of the worker, sessions, dead tuples and
sizes of the database, Kafka's logs, and CPU. Two minutes after batches completed they are made as old as a purge wants
them; Kafka keeps records for two minutes. Tombstones are made old after ten minutes, because deleting one visits what
is left of its essays' rows: after a year vacuum has removed them, and here too it should have. Autovacuum has the
settings of docs/scaling.md.

The peak is that of the same work on the same cores, without purges: batches are registered, filled and published while
the sender keeps a backlog waiting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import click
import uvloop
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer
from rich.console import Console

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.demo.workers import DemoWorker, running_workers
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.kafka.admin import admin_client
from els_stream.kafka.topics import TOPICS
from els_stream.tasks import run_every
from tests.benchmarks import latency
from tests.benchmarks.environment import BenchmarkEnvironment, benchmark_environment, for_asyncpg
from tests.benchmarks.load import AT_ONCE, Load
from tests.benchmarks.machine import machine
from tests.benchmarks.soak_samples import Sample, Sampler, as_table, picture

RESULT: Final = CHECKOUT / ".els" / "soak.json"
SAMPLE_SECONDS: Final = 15.0
# Registrations are sent so many batches ahead of their contents.
AHEAD: Final = 10 * AT_ONCE
PEAK_SECONDS: Final = 60.0
WARM_UP_SECONDS: Final = 15.0
# Contents that wait while the peak is measured: ten full micro-batches.
BACKLOG: Final = 10_000
POLL_SECONDS: Final = 0.1
MAX_PEAK: Final = 50_000.0  # contents/s, so that the load does not end before the measurement
KAFKA: Final = {"retention.ms": "120000", "segment.ms": "30000", "segment.bytes": str(64 * 2**20)}
PRODUCER: Final = {"linger.ms": 5, "message.timeout.ms": 0, "queue.buffering.max.messages": 1_000_000, "log_level": 0}
WORKER: Final = {"ELS_PURGE_INTERVAL_HOURS": "0.01", "ELS_PURGE_RETENTION_DAYS": "1", "ELS_LOG_LEVEL": "WARNING"}
AGE_SECONDS: Final = 10.0
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


class Traffic:
    """Sends a load's registrations and contents with librdkafka, which leaves the cores to the service."""

    def __init__(self, settings: Settings, load: Load) -> None:
        self._load = load
        self._registrations, self._contents = load.registrations(), load.sent()
        self._registered, self._filled = (
            settings.topic_prefix + topic for topic in (BATCH_REGISTERED, CONTENT_PROVISIONED)
        )
        self._producer = Producer({**PRODUCER, "bootstrap.servers": str(settings.broker)})
        self._ahead = 0
        self.sent = 0

    def send_up_to(self, contents: int) -> None:
        """Send until so many contents are sent, and the registrations of them and of the next AHEAD batches."""
        for one in islice(self._registrations, max(0, contents // self._load.essays_per_batch + AHEAD - self._ahead)):
            self._producer.produce(self._registered, one.value, one.key)
            self._ahead += 1
        for key, value in islice(self._contents, max(0, contents - self.sent)):
            self._producer.produce(self._filled, value, key)
            self.sent += 1
        self._producer.poll(0)

    async def flush(self) -> None:
        await asyncio.to_thread(self._producer.flush)


async def _send(settings: Settings, load: Load, rate: float) -> None:
    """Send by the clock, without waiting for what was sent before."""
    traffic = Traffic(settings, load)
    started = time.monotonic()
    while traffic.sent < load.contents:
        traffic.send_up_to(min(load.contents, round((time.monotonic() - started) * rate)))
        await asyncio.sleep(latency.TICK_SECONDS)
    await traffic.flush()


async def peak(env: BenchmarkEnvironment) -> float:
    """Return how many contents per second one worker registers, assigns and publishes from a backlog."""
    load = latency.load_of(MAX_PEAK, WARM_UP_SECONDS + PEAK_SECONDS)
    async with (
        env.worker_settings() as settings,
        running_workers(settings, 1) as [worker],
        latency.published_count(settings) as published,
    ):
        traffic = Traffic(settings, load)
        seen: list[tuple[float, int]] = []
        until = time.monotonic() + WARM_UP_SECONDS + PEAK_SECONDS
        while time.monotonic() < until:
            worker.check()
            seen.append((time.monotonic(), await published()))
            traffic.send_up_to(seen[-1][1] + BACKLOG)
            await asyncio.sleep(POLL_SECONDS)
        await traffic.flush()
    (began, first), (ended, last) = next(one for one in seen if one[0] >= until - PEAK_SECONDS), seen[-1]
    return (last - first) / (ended - began)


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
    console = Console(width=120)
    with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate = rate or runner.run(peak(env)) / 2
        console.print(f"{rate:,.0f} contents/s for {minutes:g} minutes")
        about = {"minutes": minutes, "rate": rate, "machine": machine()}
        samples: list[Sample] = []
        try:
            runner.run(run(env, minutes, rate, samples))
        finally:
            if samples:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({**about, "samples": [asdict(one) for one in samples]}, indent=2) + "\n")
    console.print(as_table(samples))
    if drawing is not None:
        drawing.write_text(picture(samples, f"One worker, {rate:,.0f} contents/s for {minutes:.0f} minutes"))


if __name__ == "__main__":
    main()
