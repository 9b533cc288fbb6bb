"""Servers for a run of benchmarks, with a database and topics for each measurement.

PostgreSQL syncs to disk as it does for a user. Everything is removed at the end.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from pydantic import SecretStr
from sqlalchemy import make_url
from typing_extensions import override

from els_stream.config.settings import Settings
from els_stream.db import migration
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.processes import ProcessId, shielded
from els_stream.embedded.servers import EmbeddedServers
from els_stream.errors import ServersUnavailable
from els_stream.events.topics import OUTPUT_TOPICS
from els_stream.kafka.topics import TOPICS, TopicPlan, delete_topics, ensure_topics
from tests.support.paths import reachable_folder

PARTITIONS = 4

Migrate: TypeAlias = Callable[[str], Awaitable[object]]
"""Brings the empty database with this URL to the newest schema."""


# The timestamp of an event is then the time at which the broker appended it.
APPEND_TIMES: Final = {"message.timestamp.type": "LogAppendTime"}
# The broker then accepts no event, since it has no second replica.
ACCEPT_NONE: Final = {"min.insync.replicas": "2"}


@dataclass(frozen=True, slots=True)
class EventTopic(TopicPlan):
    """A topic of events with more configuration than it has in production."""

    more: Mapping[str, str]

    @override
    def config(self, replication_factor: int) -> dict[str, str]:
        return {**TopicPlan.config(self, replication_factor), **self.more}


@dataclass(frozen=True, slots=True)
class BenchmarkEnvironment:
    servers: EmbeddedServers
    folder: Path

    @property
    def broker(self) -> str:
        return self.servers.kafka.address

    @property
    def postgres_pid(self) -> int:
        return _pid(self.servers.postgres.server.process)

    @property
    def kafka_pid(self) -> int:
        return _pid(self.servers.kafka.server.process)

    @asynccontextmanager
    async def database(self, migrate: Migrate = migration.upgrade) -> AsyncIterator[str]:
        """Yield the URL of a migrated, empty database, for asyncpg; drop it after the block.

        Writes of earlier measurements are flushed to disk first, so that they do not disturb the next one.
        """
        name = f"bench_{uuid.uuid4().hex[:12]}"
        url = await create_database(self.servers.postgres.url, name)
        try:
            await migrate(url)
            await asyncio.to_thread(os.sync)
            yield url
        finally:
            await shielded(drop_database(self.servers.postgres.url, name))

    @asynccontextmanager
    async def topics(
        self, events: Mapping[str, str] = MappingProxyType({}), *, partitions: int = PARTITIONS
    ) -> AsyncIterator[str]:
        """Yield a prefix under which all topics of the service exist, empty; delete them after the block.

        `events` is more configuration of those for events.
        """
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        plans = [
            EventTopic(plan.topic, plan.retention_days, plan.max_bytes, events)
            for plan in TOPICS
            if plan.topic in OUTPUT_TOPICS
        ]
        await ensure_topics(self.broker, prefix, partitions, topics=plans)
        await ensure_topics(self.broker, prefix, partitions)
        try:
            yield prefix
        finally:
            await shielded(delete_topics(self.broker, [prefix + plan.topic for plan in TOPICS]))

    @asynccontextmanager
    async def worker_settings(
        self,
        events: Mapping[str, str] = MappingProxyType({}),
        *,
        partitions: int = PARTITIONS,
        migrate: Migrate = migration.upgrade,
    ) -> AsyncIterator[Settings]:
        """Yield default settings of a worker, with a new database and new topics; `events` as for `topics`."""
        async with self.database(migrate) as url, self.topics(events, partitions=partitions) as prefix:
            yield Settings(
                broker_url=self.broker,
                database_url=SecretStr(url),
                topic_prefix=prefix,
                consumer_group=f"{prefix}group",
                state_dir=self.folder,
            )


def for_sqlalchemy(url: str) -> str:
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def for_asyncpg(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def benchmark_environment() -> Iterator[BenchmarkEnvironment]:
    """Start the servers; stop them and remove their data after the block.

    This is no coroutine: uvloop, in which we measure, cannot start a process as another account.
    """
    with reachable_folder() as folder:
        servers = EmbeddedServers(folder)
        asyncio.run(servers.start())
        try:
            yield BenchmarkEnvironment(servers, folder)
        finally:
            asyncio.run(servers.stop())


def _pid(process: ProcessId | None) -> int:
    if process is None:
        raise ServersUnavailable("a server of the benchmark has ended")
    return process.pid
