"""`els relay`: a relay in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, PROVISIONING_COMPLETED, SLOT_ASSIGNED
from tests.support import factories
from tests.support.outbox_rows import commit, emptied, left, story
from tests.support.relays import read_all
from tests.support.worker_process import running_worker, send, until

ROOT = Path(__file__).parents[3]
# Long enough for a busy machine; it aims at 3.
STOP_SECONDS = 5
TOPICS = (SLOT_ASSIGNED, PROVISIONING_COMPLETED)


@dataclass
class Process:
    process: asyncio.subprocess.Process
    log: list[str] = field(default_factory=list)

    async def says(self, event: str, within: float = 20) -> None:
        """Reads its log up to the first line that tells this."""
        async with asyncio.timeout(within):
            while line := await self._line():
                if line.startswith("{") and json.loads(line)["event"] == event:
                    return
        raise AssertionError(f"it ended without saying {event}:\n{''.join(self.log)}")

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self) -> int:
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()

    async def _line(self) -> str:
        assert self.process.stderr is not None
        self.log.append((await self.process.stderr.readline()).decode())
        return self.log[-1]


@asynccontextmanager
async def els_relay(environment: Mapping[str, str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", "relay"), cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def environment(addresses: Addresses, database: str, topic_prefix: str) -> dict[str, str]:
    """Workers that leave the sending to it may have the same."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ELS_")} | {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": database,
        "ELS_TOPIC_PREFIX": topic_prefix,
        "ELS_RELAY_ENABLED": "false",
    }


async def test_it_sends_what_a_worker_without_a_relay_leaves_in_the_outbox(
    engine: AsyncEngine, addresses: Addresses, environment: dict[str, str], kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    where = (addresses, environment["ELS_DATABASE_URL"], environment["ELS_TOPIC_PREFIX"])
    contents = [(CONTENT_PROVISIONED, factories.content(number=number)) for number in range(3)]
    async with running_worker(*where, tmp_path / "worker.log", ELS_RELAY_ENABLED="false"):
        await send(addresses, where[-1], (BATCH_REGISTERED, factories.registration()), *contents)
        await until(lambda: holds(engine, 4))
        async with els_relay(environment) as relay:
            await emptied(engine)
            relay.tell(signal.SIGTERM)
            assert await relay.ends() == 0

    assert len(await read_all(addresses.broker, [kafka_topics[topic] for topic in TOPICS])) == 4


async def holds(engine: AsyncEngine, rows: int) -> bool:
    return await left(engine) == rows


async def test_it_refuses_a_database_older_than_its_code(empty_database: str, environment: dict[str, str]) -> None:
    async with els_relay(environment | {"ELS_DATABASE_URL": empty_database}) as relay:
        _, told = await relay.process.communicate()

    assert (relay.process.returncode, told.decode().count("\n")) == (2, 1)
    assert told.startswith(b"els: ")
    assert b"els migrate" in told


async def test_it_waits_for_its_database_and_stops_in_time_whatever_is_away(
    servers: EmbeddedServers, engine: AsyncEngine, environment: Mapping[str, str], kafka_topics: dict[str, str]
) -> None:
    assert kafka_topics
    await commit(engine, story("batch-of-9b"))
    await engine.dispose()
    await servers.postgres.kill()
    async with els_relay(environment) as patient, els_relay(environment) as stopped:
        await stopped.says("waiting_for_database")
        stopped.tell(signal.SIGINT)
        assert await stopped.ends() == 0
        await patient.says("waiting_for_database")
        await servers.postgres.start()
        await patient.says("relay_started")
        await emptied(engine)
        servers.postgres.pause()
        servers.kafka.pause()
        patient.tell(signal.SIGTERM)
        assert await patient.ends() == 0
        servers.postgres.resume()
        servers.kafka.resume()
