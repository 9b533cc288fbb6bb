"""One run each of what is compared: stock Faust and our lane doing nothing, and the whole service."""

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

NOOP: Final = ("-m", "tests.benchmarks.noop_worker")
STOCK: Final = ("-m", "tests.benchmarks.stock_faust")
POLL_INTERVAL_SECONDS: Final = 0.05
MAX_WAIT_SECONDS: Final = 900.0
AT_ONCE: Final = 500

HANDLED: Final = """
    SELECT coalesce(sum(next_offset), 0)::bigint FROM consumed_offsets WHERE consumer_group = $1 AND topic = $2
"""
# The way of the relay, which has passed by the dead rows before us.
WAITING: Final = "SELECT 1 FROM event_outbox ORDER BY shard, position LIMIT 1"
# When the first micro-batch had the locks of its batches.
BEGAN: Final = "SELECT extract(epoch FROM min(filled_at))::float8 FROM essay_states"
DONE: Final = """
    SELECT (SELECT count(*) FROM essay_states WHERE filled_at IS NOT NULL),
           (SELECT count(*) FROM batch_essay_trackers WHERE state IN ('content_complete', 'completed'))
"""


class Unfinished(ElsError):
    """A benchmark whose work was not done in time, or not rightly: its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """`cpu` is in seconds, by process."""

    contents: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.contents / self.seconds

    def cpu_each(self, name: str) -> float:
        """Microseconds for each content."""
        return self.cpu[name] * 1e6 / self.contents


async def stock_faust(broker: str, topic: str, records: int, *variant: str) -> Run:
    """Its agent does nothing; timed from its first record to its last."""
    command = (sys.executable, *STOCK, broker, topic, str(records), *variant)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Faust writes to a terminal's cursor before it, terminal or not.
    told = json.loads(answer[answer.index(b"{") :])
    return Run(records, told["seconds"], {"stock": told["cpu"]})


async def register(settings: Settings, load: Load) -> None:
    """As the service does, in this process."""
    handler = make_handlers(HandlerPolicy.from_settings(settings))["register_batch"]
    engine = create_async_engine(settings.database)
    records = list(load.registrations())
    for start in range(0, len(records), AT_ONCE):
        async with engine.begin() as conn:
            await process(handler, conn, records[start : start + AT_ONCE])
    await engine.dispose()


async def service(
    ground: BenchmarkEnvironment, settings: Settings, load: Load, release: Release, *, count: int = 1
) -> Run:
    """From the first content's transaction until the ledger is at the end and the outbox empty, as it is acked."""
    conn = await asyncpg.connect(for_asyncpg(settings.database))
    try:
        async with running_workers(settings, count) as team:
            trees = {"worker": _pids(team), "postgres": [ground.postgres_pid], "kafka": [ground.kafka_pid]}
            before = read_clock(trees)
            await release()
            await _until_handled(conn, settings, load.contents, team)
            ended = await _until_told(conn, team)
            cpu = read_clock(trees).since(before)
        _check(tuple(await conn.fetchrow(DONE) or ()), load)
        return Run(load.contents, ended - float(await conn.fetchval(BEGAN)), cpu)
    finally:
        await conn.close()


async def lane_alone(settings: Settings, load: Load, release: Release) -> Run:
    """Between the first look that sees the ledger moved and the last."""
    conn = await asyncpg.connect(for_asyncpg(settings.database))
    try:
        async with running_workers(settings, 1, NOOP) as team:
            await release()
            seen = await _until_handled(conn, settings, load.contents, team)
    finally:
        await conn.close()
    (began, first), (ended, last) = seen[0], seen[-1]
    return Run(last - first, ended - began)


async def _until_handled(
    conn: asyncpg.Connection, settings: Settings, contents: int, team: Sequence[DemoWorker]
) -> list[tuple[float, int]]:
    """The time and the sum of offsets of each look since the ledger began to move."""
    seen: list[tuple[float, int]] = []
    topic = settings.topic_prefix + CONTENT_PROVISIONED
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while not seen or seen[-1][1] < contents:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            handled = await conn.fetchval(HANDLED, settings.consumer_group, topic)
            if handled:
                seen.append((time.time(), handled))
            for worker in team:
                worker.check()
    return seen


async def _until_told(conn: asyncpg.Connection, team: Sequence[DemoWorker]) -> float:
    await conn.execute("SET enable_seqscan = off")
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while await conn.fetchval(WAITING) is not None:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            for worker in team:
                worker.check()
    return time.time()


def _check(done: tuple[int, ...], load: Load) -> None:
    if done != (load.essays, load.batches):
        raise Unfinished(f"(essays, batches) that are done: {done}, not {(load.essays, load.batches)}")


def _pids(team: Sequence[DemoWorker]) -> list[int]:
    return [worker.process.pid for worker in team]
