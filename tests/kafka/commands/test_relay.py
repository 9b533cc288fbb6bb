"""`els relay`: a relay in its own process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.events.outbound_event import OutboundEvent
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, PROVISIONING_COMPLETED, SLOT_ASSIGNED
from tests.support import factories
from tests.support.outbox_rows import batch_rows, commit, row, rows_left, wait_until_empty
from tests.support.relays import read_records
from tests.support.silent_server import silent_server
from tests.support.worker_process import running_worker, send, until

ROOT = Path(__file__).parents[3]
# A process that takes longer hangs; a stop takes at most 3 s, and a busy machine needs more.
STOP_TIMEOUT_SECONDS = 5
TRACEPARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
TOPICS = (SLOT_ASSIGNED, PROVISIONING_COMPLETED)


@dataclass
class RelayCommand:
    process: asyncio.subprocess.Process
    log: list[str] = field(default_factory=list)

    async def wait_for_log(self, event: str, within: float = 20) -> None:
        """Read the log up to the first line with this event."""
        async with asyncio.timeout(within):
            while line := await self._line():
                if line.startswith("{") and json.loads(line)["event"] == event:
                    return
        raise AssertionError(f"it ended without logging {event}:\n{''.join(self.log)}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            return await self.process.wait()

    async def _line(self) -> str:
        assert self.process.stderr is not None
        self.log.append((await self.process.stderr.readline()).decode())
        return self.log[-1]


@asynccontextmanager
async def els_relay(environment: Mapping[str, str]) -> AsyncIterator[RelayCommand]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", "relay"), cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield RelayCommand(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def environment(addresses: Addresses, database: str, topic_prefix: str) -> dict[str, str]:
    """The environment of the command; workers without a relay may have the same."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ELS_")} | {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": database,
        "ELS_TOPIC_PREFIX": topic_prefix,
        "ELS_RELAY_ENABLED": "false",
    }


async def test_it_publishes_the_outbox_of_a_worker_without_a_relay(
    engine: AsyncEngine, addresses: Addresses, environment: dict[str, str], kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    where = (addresses, environment["ELS_DATABASE_URL"], environment["ELS_TOPIC_PREFIX"])
    contents = [(CONTENT_PROVISIONED, factories.content(number=number)) for number in range(3)]
    async with running_worker(*where, tmp_path / "worker.log", ELS_RELAY_ENABLED="false"):
        await send(addresses, where[-1], (BATCH_REGISTERED, factories.registration()), *contents)
        await until(lambda: has_rows(engine, 4))
        async with els_relay(environment) as relay:
            await wait_until_empty(engine)
            relay.signal(signal.SIGTERM)
            assert await relay.wait() == 0

    assert len(await read_records(addresses.broker, [kafka_topics[topic] for topic in TOPICS])) == 4


async def has_rows(engine: AsyncEngine, rows: int) -> bool:
    return await rows_left(engine) == rows


async def test_a_silent_tracing_collector_does_not_delay_its_exit(
    engine: AsyncEngine, environment: dict[str, str], kafka_topics: dict[str, str]
) -> None:
    assert kafka_topics
    plain = row("batch-of-9b", 1)
    traced = OutboundEvent.with_headers(
        plain.event.event_id, plain.event.topic, plain.event.key, plain.event.value, (("traceparent", TRACEPARENT),)
    )
    await commit(engine, [replace(plain, event=traced)])
    async with silent_server() as collector:
        tracing = {"ELS_TRACING_ENDPOINT": f"http://{collector}/v1/traces"}
        async with els_relay(environment | tracing) as relay:
            await wait_until_empty(engine)
            relay.signal(signal.SIGTERM)
            await relay.wait_for_log("spans_given_up")
            assert await relay.wait() == 0

    assert json.loads(relay.log[-1])["spans"] == 1


async def test_it_exits_if_the_schema_is_older_than_its_code(empty_database: str, environment: dict[str, str]) -> None:
    async with els_relay(environment | {"ELS_DATABASE_URL": empty_database}) as relay:
        _, stderr = await relay.process.communicate()

    assert (relay.process.returncode, stderr.decode().count("\n")) == (2, 1)
    assert stderr.startswith(b"els: ")
    assert b"els migrate" in stderr


async def test_it_waits_for_its_database_and_stops_while_servers_are_down(
    servers: EmbeddedServers, engine: AsyncEngine, environment: Mapping[str, str], kafka_topics: dict[str, str]
) -> None:
    assert kafka_topics
    await commit(engine, batch_rows("batch-of-9b"))
    await engine.dispose()
    await servers.postgres.kill()
    async with els_relay(environment) as patient, els_relay(environment) as stopped:
        await stopped.wait_for_log("waiting_for_database")
        stopped.signal(signal.SIGINT)
        assert await stopped.wait() == 0
        await patient.wait_for_log("waiting_for_database")
        await servers.postgres.start()
        await patient.wait_for_log("relay_started")
        await wait_until_empty(engine)
        servers.postgres.pause()
        servers.kafka.pause()
        patient.signal(signal.SIGTERM)
        assert await patient.wait() == 0
        servers.postgres.resume()
        servers.kafka.resume()
