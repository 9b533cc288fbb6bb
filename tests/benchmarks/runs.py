"""Runs the programs that the benchmarks compare: stock Faust, a worker that handles nothing, the whole service."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from els_stream.config.settings import Settings
from els_stream.demo.workers import DemoWorker, running_workers
from els_stream.errors import ElsError
from els_stream.events.topics import CONTENT_PROVISIONED
from els_stream.handlers.handler import process
from els_stream.handlers.registry import HandlerPolicy, make_handlers
from tests.benchmarks.cpu import read_clock
from tests.benchmarks.environment import BenchmarkEnvironment, for_asyncpg
from tests.benchmarks.load import Load
from tests.benchmarks.preload import Release
from tests.support.waiting import until

NOOP: Final = ("-m", "tests.benchmarks.noop_worker")
STOCK: Final = ("-m", "tests.benchmarks.stock_faust")
POLL_INTERVAL_SECONDS: Final = 0.05
MAX_WAIT_SECONDS: Final = 900.0
AT_ONCE: Final = 500

HANDLED: Final = """
    SELECT coalesce(sum(next_offset), 0)::bigint FROM consumed_offsets WHERE consumer_group = $1 AND topic = $2
"""
# Ordered as the relay reads it: otherwise the query would scan all dead rows.
WAITING: Final = "SELECT 1 FROM outbox_segments UNION ALL SELECT 1 FROM event_outbox LIMIT 1"
# The time at which the first micro-batch had locked its batches.
BEGAN: Final = "SELECT extract(epoch FROM min(filled_at))::float8 FROM essay_states"
DONE: Final = """
    SELECT (SELECT count(*) FROM essay_states WHERE filled_at IS NOT NULL),
           (SELECT count(*) FROM batch_essay_trackers WHERE state IN ('content_complete', 'completed'))
"""


class Unfinished(ElsError):
    """The work of a benchmark was not done in time or has a wrong result, so its figures would be meaningless."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one run; `cpu` is in seconds, by process."""

    contents: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.contents / self.seconds

    def cpu_each(self, name: str) -> float:
        """Return the CPU time of a process in microseconds per content."""
        return self.cpu[name] * 1e6 / self.contents


async def stock_faust(broker: str, topic: str, records: int, *variant: str) -> Run:
    """Run an agent that does nothing; the time is from the first record to the last."""
    command = (sys.executable, *STOCK, broker, topic, str(records), *variant)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Faust prints escape sequences for a terminal before it.
    result = json.loads(answer[answer.index(b"{") :])
    return Run(records, result["seconds"], {"stock": result["cpu"]})


async def register(settings: Settings, load: Load) -> None:
    """Process the registrations in this process, with the handler of the service."""
    handler = make_handlers(HandlerPolicy.from_settings(settings))["register_batch"]
    engine = create_async_engine(settings.database)
    records = list(load.registrations())
    for start in range(0, len(records), AT_ONCE):
        async with engine.begin() as conn:
            await process(handler, conn, records[start : start + AT_ONCE])
    await engine.dispose()


async def service(
    env: BenchmarkEnvironment, settings: Settings, load: Load, release: Release, *, count: int = 1
) -> Run:
    """Run the service; the time is from the first content's transaction until the outbox is empty after all input."""
    conn = await asyncpg.connect(for_asyncpg(settings.database))
    try:
        async with running_workers(settings, count) as workers:
            trees = {"worker": _pids(workers), "postgres": [env.postgres_pid], "kafka": [env.kafka_pid]}
            before = read_clock(trees)
            await release()
            await _until_handled(conn, settings, load.contents, workers)
            ended = await until_published(conn, workers)
            cpu = read_clock(trees).since(before)
        _check(tuple(await conn.fetchrow(DONE) or ()), load)
        return Run(load.contents, ended - float(await conn.fetchval(BEGAN)), cpu)
    finally:
        await conn.close()


async def noop_worker(settings: Settings, load: Load, release: Release) -> Run:
    """Run the no-op worker; the time is from the first poll that sees progress to the last."""
    conn = await asyncpg.connect(for_asyncpg(settings.database))
    try:
        async with running_workers(settings, 1, NOOP) as workers:
            await release()
            seen = await _until_handled(conn, settings, load.contents, workers)
    finally:
        await conn.close()
    (began, first), (ended, last) = seen[0], seen[-1]
    return Run(last - first, ended - began)


async def until_handled(settings: Settings, topic: str, records: int) -> None:
    """Poll until the stored offsets of the topic, with the service's prefix, are past so many records."""
    conn = await asyncpg.connect(for_asyncpg(settings.database))

    async def handled() -> bool:
        return int(await conn.fetchval(HANDLED, settings.consumer_group, topic)) >= records

    try:
        await until(handled, seconds=MAX_WAIT_SECONDS, every=POLL_INTERVAL_SECONDS)
    finally:
        await conn.close()


async def _until_handled(
    conn: asyncpg.Connection, settings: Settings, contents: int, workers: Sequence[DemoWorker]
) -> list[tuple[float, int]]:
    """Poll until all contents are handled; return the time and the sum of stored offsets of each poll with progress."""
    seen: list[tuple[float, int]] = []
    topic = settings.topic_prefix + CONTENT_PROVISIONED
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while not seen or seen[-1][1] < contents:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            handled = await conn.fetchval(HANDLED, settings.consumer_group, topic)
            if handled:
                seen.append((time.time(), handled))
            for worker in workers:
                worker.check()
    return seen


async def until_published(conn: asyncpg.Connection, workers: Sequence[DemoWorker]) -> float:
    await conn.execute("SET enable_seqscan = off")
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while await conn.fetchval(WAITING) is not None:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            for worker in workers:
                worker.check()
    return time.time()


def _check(done: tuple[int, ...], load: Load) -> None:
    if done != (load.essays, load.batches):
        raise Unfinished(f"(essays, batches) that are done: {done}, not {(load.essays, load.batches)}")


def _pids(workers: Sequence[DemoWorker]) -> list[int]:
    return [worker.process.pid for worker in workers]
