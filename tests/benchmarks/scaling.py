"""Counts what a content costs with 1, 2, 4 and 8 workers on 8 partitions: at a steady rate, and from a backlog.

Statements and round trips are counted on the wire, lock waits and deadlocks in PostgreSQL's log, WAL by its positions:
these depend little on other load of the machine. The wall time is not measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

import asyncpg
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from els_stream.config.settings import Settings
from els_stream.demo.workers import DemoWorker, running_workers
from els_stream.events.topics import CONTENT_PROVISIONED
from tests.benchmarks import runs
from tests.benchmarks.cpu import read_clock
from tests.benchmarks.environment import BenchmarkEnvironment, for_asyncpg
from tests.benchmarks.load import Content, Load
from tests.benchmarks.preload import write
from tests.benchmarks.report import Figure, Scale, Section
from tests.support.protocol_recorder import ProtocolRecorder, recorded

TEAMS: Final = (1, 2, 4, 8)
PARTITIONS: Final = 8
RATE: Final = 1000
STEADY_CONTENTS: Final = 12_000
LOAD: Final = Load(1200)
IDLE_SECONDS: Final = 5.0
# PostgreSQL looks for a deadlock, and logs the wait, when a lock has been waited for this long.
LOGGED_WAIT_MS: Final = 10
CPU: Final = ("worker", "postgres", "kafka")

SETTINGS: Final = ("log_lock_waits = on", f"deadlock_timeout = '{LOGGED_WAIT_MS}ms'")
COUNTERS: Final = """
    SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal,
           (SELECT coalesce(last_value, 0) FROM pg_sequences WHERE sequencename LIKE 'outbox_segments%') AS segments,
           (SELECT sum(fsyncs) FROM pg_stat_io) AS syncs,
           (SELECT sum(writes + coalesce(extends, 0)) FROM pg_stat_io) AS writes
"""


@dataclass(frozen=True, slots=True)
class Team:
    """Running workers whose connections to PostgreSQL pass `wire`."""

    env: BenchmarkEnvironment
    settings: Settings
    workers: Sequence[DemoWorker]
    wire: ProtocolRecorder
    conn: asyncpg.Connection

    async def during(self, work: Awaitable[None]) -> dict[str, float]:
        """Return by how much each counter grew while the work was done."""
        before, log = await self._read(), self.env.servers.postgres.server.log.stat().st_size
        await work
        after = await self._read()
        logged = self.env.servers.postgres.server.logged_since(log)
        return {
            **{name: after[name] - before[name] for name in after},
            "lock waits": logged.count(b"still waiting for"),
            "deadlocks": logged.count(b"deadlock detected"),
        }

    async def _read(self) -> dict[str, float]:
        row = await self.conn.fetchrow(COUNTERS)
        assert row is not None
        cpu = read_clock(
            {
                "worker": [worker.process.pid for worker in self.workers],
                "postgres": [self.env.postgres_pid],
                "kafka": [self.env.kafka_pid],
            }
        )
        return {
            "statements": self.wire.statements,
            "round trips": self.wire.round_trips,
            **{name: float(value) for name, value in row.items()},
            **cpu.seconds,
        }

    async def until_done(self, contents: int) -> None:
        """Wait until so many contents have been handled since the start and the outbox is empty."""
        await runs.until_handled(self.settings, self.settings.topic_prefix + CONTENT_PROVISIONED, contents)
        await runs.until_published(self.conn, self.workers)


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    del scale
    alone: Mapping[str, float] = {}
    for count in TEAMS:
        async with _team(env, count) as team:
            idle = await team.during(asyncio.sleep(IDLE_SECONDS))
            contents = LOAD.sent()
            async with AIOKafkaProducer(bootstrap_servers=env.broker, acks="all") as producer:
                steady = await team.during(_steady(team, producer, contents))
                backlog = await team.during(_backlog(team, producer, contents))
        name = "1 worker" if count == 1 else f"{count} workers"
        each = _per_content(steady, STEADY_CONTENTS)
        alone = alone or each
        yield Section(
            f"{name}, {RATE:,} contents/s",
            [
                *_figures(each),
                Figure("statements without input", idle["statements"] / IDLE_SECONDS, "/s"),
                *(Figure(f"CPU without input: {name}", idle[name] * 1e3 / IDLE_SECONDS, "ms/s") for name in CPU),
            ],
            {f"cpu_{count}_workers_vs_1": _cpu(each) / _cpu(alone)} if count > 1 else {},
        )
        yield Section(f"{name}, a backlog", _figures(_per_content(backlog, LOAD.essays - STEADY_CONTENTS)))


@asynccontextmanager
async def _team(env: BenchmarkEnvironment, count: int) -> AsyncIterator[Team]:
    async with env.worker_settings(partitions=PARTITIONS) as settings:
        direct = for_asyncpg(settings.database)
        conn = await asyncpg.connect(direct)
        try:
            database = await conn.fetchval("SELECT current_database()")
            for setting in SETTINGS:
                await conn.execute(f'ALTER DATABASE "{database}" SET {setting}')
            await runs.register(settings, LOAD)
            async with recorded(direct) as wire:
                counted = settings.model_copy(update={"database_url": SecretStr(wire.url)})
                async with running_workers(counted, count) as workers:
                    yield Team(env, settings, workers, wire, conn)
        finally:
            await conn.close()


async def _steady(team: Team, producer: AIOKafkaProducer, contents: Iterable[Content]) -> None:
    """Send at RATE, whatever the workers do."""
    topic, began = team.settings.topic_prefix + CONTENT_PROVISIONED, time.monotonic()
    for number, (key, value) in enumerate(islice(contents, STEADY_CONTENTS)):
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        await producer.send(topic, value, key)
    await producer.flush()
    await team.until_done(STEADY_CONTENTS)


async def _backlog(team: Team, producer: AIOKafkaProducer, contents: Iterable[Content]) -> None:
    """Send the rest at once: faster than it is handled."""
    await write(producer, team.settings.topic_prefix + CONTENT_PROVISIONED, contents, PARTITIONS)
    await team.until_done(LOAD.essays)


def _per_content(counters: Mapping[str, float], contents: int) -> dict[str, float]:
    return {name: value / contents for name, value in counters.items()}


def _cpu(each: Mapping[str, float]) -> float:
    return sum(each[name] for name in CPU)


def _figures(each: Mapping[str, float]) -> list[Figure]:
    return [
        Figure("statements", each["statements"], "/content"),
        Figure("round trips", each["round trips"], "/content"),
        Figure("statements", each["statements"] / each["segments"], "/segment of the outbox"),
        Figure("contents", 1 / each["segments"], "/segment of the outbox"),
        Figure(f"lock waits of {LOGGED_WAIT_MS} ms and more", 1000 * each["lock waits"], "/1,000 contents"),
        Figure("deadlocks", 1000 * each["deadlocks"], "/1,000 contents"),
        Figure("WAL", each["wal"], "bytes/content"),
        Figure("fsyncs of PostgreSQL", each["syncs"], "/content"),
        Figure("writes of PostgreSQL", each["writes"], "/content"),
        *(Figure(f"CPU: {name}", each[name] * 1e6, "µs/content") for name in CPU),
        Figure("CPU: all", _cpu(each) * 1e6, "µs/content"),
    ]
