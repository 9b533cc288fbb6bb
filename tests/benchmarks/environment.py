"""What a benchmark stands on: servers of the run's own, and on them a database and topics for each measurement.

PostgreSQL syncs to disk as it does for a user. Nothing of it is left when the run is over.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import make_url

from els_stream.config.settings import Settings
from els_stream.db import schema
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.processes import ProcessId, shielded
from els_stream.embedded.servers import EmbeddedServers
from els_stream.errors import ServersUnavailable
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tests.support.paths import reachable_folder

PARTITIONS = 4


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
    async def database(self) -> AsyncIterator[str]:
        """The address of a migrated, empty database, for asyncpg as it is; gone with the block.

        What earlier measurements wrote is on the disk by then: its flushing would be measured with the next.
        """
        name = f"bench_{uuid.uuid4().hex[:12]}"
        url = await create_database(self.servers.postgres.url, name)
        try:
            await schema.upgrade(url)
            await asyncio.to_thread(os.sync)
            yield url
        finally:
            await shielded(drop_database(self.servers.postgres.url, name))

    @asynccontextmanager
    async def topics(self) -> AsyncIterator[str]:
        """A prefix under which all topics of the service exist, empty; gone with the block."""
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        await ensure_topics(self.broker, prefix, PARTITIONS)
        try:
            yield prefix
        finally:
            await shielded(delete_topics(self.broker, [prefix + plan.topic for plan in TOPICS]))

    @asynccontextmanager
    async def worker_settings(self) -> AsyncIterator[Settings]:
        """A database and topics, as the settings of a worker that is otherwise as it comes."""
        async with self.database() as url, self.topics() as prefix:
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
    """Starts the servers; the block ends with them and their data gone, however it ends.

    Not in a coroutine, since the loop of a worker, in which we measure, can't start a server as another account.
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
