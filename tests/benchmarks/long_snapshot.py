"""`python -m tests.benchmarks.long_snapshot`: one worker beside a transaction of somebody else that stays open.

While a REPEATABLE READ snapshot is open PostgreSQL can remove no row version that ended after it. The outbox and the
stored offsets are small tables whose rows change with every commit. This measures what that costs at a steady rate of
contents: before, during and after the snapshot.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import click
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.demo.workers import DemoWorker, running_workers
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.relay.factory import create_relay_engine
from tests.benchmarks import latency, runs
from tests.benchmarks.environment import BenchmarkEnvironment, benchmark_environment, for_asyncpg
from tests.benchmarks.histograms import Buckets, bucket_counts, quantile
from tests.benchmarks.machine import machine
from tests.benchmarks.preload import preload
from tests.benchmarks.report import percentile

RESULT: Final = CHECKOUT / ".els" / "long-snapshot.json"
BEFORE_SECONDS: Final = 30.0
AFTER_SECONDS: Final = 90.0
PROBE_INTERVAL_SECONDS: Final = 0.2
MARGIN_SECONDS: Final = 10.0  # of load beyond the last window
# Names of histograms of the worker, and of the columns.
HISTOGRAMS: Final = {
    "els_micro_batch_seconds": "batch",
    "els_commit_seconds": "commit",
    "els_end_to_end_seconds": "all",
}
SHARES: Final = {"p50": 0.5, "p99": 0.99}
SIZES: Final = """
    SELECT pg_total_relation_size('outbox_segments') / 1048576.0 AS "outbox MiB", n_dead_tup AS "dead tuples",
           pg_total_relation_size('consumed_offsets') / 1048576.0 AS "offsets MiB"
    FROM pg_stat_user_tables WHERE relname = 'outbox_segments'
"""


@dataclass(slots=True)
class Window:
    """Some seconds: times in milliseconds, sizes in MiB; `unready` counts answers of readiness that were not 200."""

    phase: str
    second: int
    values: dict[str, float] = field(default_factory=dict)
    unready: int = 0


@dataclass(slots=True)
class Probe:
    """Asks the worker and the database at an interval."""

    worker: DemoWorker
    http: aiohttp.ClientSession
    conn: asyncpg.Connection
    relay_engine: AsyncEngine
    started: float = field(default_factory=time.monotonic)
    windows: list[Window] = field(default_factory=list)

    async def phase(self, name: str, seconds: float, window: float) -> None:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            self.windows.append(await self._window(name, min(window, until - now)))

    async def _window(self, phase: str, seconds: float) -> Window:
        found = Window(phase, round(time.monotonic() - self.started))
        until = time.monotonic() + seconds
        before = await self._histograms()
        polls: list[float] = []
        while time.monotonic() < until:
            polls.append(await self._poll())
            found.unready += not await self._ready()
            self.worker.check()
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        after = await self._histograms()
        for name, title in HISTOGRAMS.items():
            counts = {bound: count - before[name].get(bound, 0.0) for bound, count in after[name].items()}
            found.values |= {f"{title} {label}": quantile(counts, share) * 1000 for label, share in SHARES.items()}
        found.values |= {f"poll {label}": percentile(polls, share) * 1000 for label, share in SHARES.items()}
        sizes = await self.conn.fetchrow(SIZES)
        found.values |= {name: float(value) for name, value in dict(sizes or {}).items()}
        return found

    async def _poll(self) -> float:
        """Read the outbox as the relay does; return the seconds that it took."""
        async with self.relay_engine.connect() as conn:
            began = time.perf_counter()
            await outbox_segments.fetch(conn, range(SHARD_COUNT), events=2000, size=2**23)
            return time.perf_counter() - began

    async def _ready(self) -> bool:
        async with self.http.get(f"{self.worker.web}/readyz") as answer:
            return answer.status == HTTPStatus.OK

    async def _histograms(self) -> Buckets:
        async with self.http.get(f"{self.worker.web}/metrics") as answer:
            return bucket_counts(text_string_to_metric_families(await answer.text()), HISTOGRAMS)


async def run(env: BenchmarkEnvironment, minutes: float, rate: float, window: float) -> list[Window]:
    seconds = BEFORE_SECONDS + minutes * 60 + AFTER_SECONDS
    load = latency.load_of(rate, seconds + MARGIN_SECONDS)
    async with env.worker_settings() as settings, running_workers(settings, 1) as [worker]:
        registrations = [(one.key, one.value or b"") for one in load.registrations()]
        topic = settings.topic_prefix + BATCH_REGISTERED
        await preload(env.broker, topic, registrations)
        await runs.until_handled(settings, topic, len(registrations))
        async with _probe(settings, worker) as probe, asyncio.TaskGroup() as group:
            sending = group.create_task(latency.send_at(settings, load, rate))
            contents = settings.topic_prefix + CONTENT_PROVISIONED
            await runs.until_handled(settings, contents, int(rate * latency.WARM_UP_SECONDS))
            probe.started = time.monotonic()
            await probe.phase("before", BEFORE_SECONDS, window)
            async with _snapshot(settings):
                await probe.phase("during", minutes * 60, window)
            await probe.phase("after", AFTER_SECONDS, window)
            await sending
    return probe.windows


@asynccontextmanager
async def _probe(settings: Settings, worker: DemoWorker) -> AsyncIterator[Probe]:
    engine = create_relay_engine(settings)
    conn = await asyncpg.connect(for_asyncpg(settings.database))
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http:
            yield Probe(worker, http, conn, engine)
    finally:
        await conn.close()
        await engine.dispose()


@asynccontextmanager
async def _snapshot(settings: Settings) -> AsyncIterator[None]:
    """Hold a snapshot in a session of its own, as a dump or a long report does."""
    conn = await asyncpg.connect(for_asyncpg(settings.database))
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            await conn.fetchval("SELECT count(*) FROM batch_essay_trackers")
            yield
    finally:
        await conn.close()


def as_table(windows: list[Window]) -> Table:
    names = list(windows[0].values)
    table = Table("phase", "s", *names, "unready", title="times in ms")
    for one in windows:
        table.add_row(one.phase, str(one.second), *(f"{one.values[name]:,.1f}" for name in names), str(one.unready))
    return table


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=20.0, show_default=True, help="Age of the snapshot.")
@click.option("--rate", type=click.FloatRange(min=1), default=500.0, show_default=True, help="Contents per second.")
@click.option("--window", type=click.FloatRange(min=1), default=15.0, show_default=True, help="Seconds per line.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=RESULT, help="Where the result is written.")
def main(minutes: float, rate: float, window: float, path: Path) -> None:
    """Measure one worker before, during and after a long snapshot of another session."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each retry on a new topic
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        windows = runner.run(run(env, minutes, rate, window))
    Console(width=160).print(as_table(windows))
    about = {"minutes": minutes, "rate": rate, "machine": machine()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "windows": [asdict(one) for one in windows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
