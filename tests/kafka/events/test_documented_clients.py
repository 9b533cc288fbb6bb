"""The programs of README.md, and kcat as in docs/events.md, send to a real worker and read what it publishes."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from els_stream.config.setting_types import CHECKOUT
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from tests.support import programs
from tests.support.generated_docs import DOCS, GOLDEN, README
from tests.support.worker_process import running_worker

BATCH: Final = "0b7f2f3e-6f0e-4c1e-9c39-1a2b3c4d5e6f"
TIMEOUT_SECONDS: Final = 40
FENCE: Final = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def topic_prefix() -> str:
    """Return no prefix: the documented programs name the topics as they are."""
    return ""


def documented() -> tuple[str, str, list[str]]:
    """Return the producer, the consumer and the commands with kcat."""
    (_, producer), (_, consumer) = FENCE.findall(README.read_text())
    ((_, commands),) = FENCE.findall((DOCS / "events.md").read_text())
    return producer, consumer, commands.splitlines()


async def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    async with started(*command, environment=environment) as process:
        output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
        assert process.returncode == 0
        return output.decode()


@asynccontextmanager
async def started(
    *command: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=CHECKOUT, env={**os.environ, **(environment or {})}, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), TIMEOUT_SECONDS)).decode()


def example(name: str) -> str:
    return str(GOLDEN / f"{name}.json")


def another_content(folder: Path) -> str:
    content = Path(example("essay_content_provisioned")).read_text()
    other = folder / "other.json"
    other.write_text(content.replace("upload-001", "upload-009").replace("text-001", "text-009"))
    return str(other)


async def kcat(command: str, broker: str) -> str:
    try:
        program, environment = programs.find("kcat")
    except programs.ProgramMissing as missing:
        pytest.fail(str(missing))
    _, *arguments = shlex.split(command.replace("BROKER", broker))
    return await run(program, *arguments, environment=environment)


async def test_documented_programs_and_kcat_send_and_read(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    assert kafka_topics
    producer, consumer, (send, read) = documented()
    async with (
        running_worker(addresses, database, topic_prefix, tmp_path / "worker.log"),
        started(sys.executable, "-c", consumer, addresses.broker) as reader,
    ):
        registration = example("batch_essays_registered")
        await run(sys.executable, "-c", producer, addresses.broker, registration)
        await kcat(send, addresses.broker)
        assert await next_line(reader) == "essay-001 holds text-001\n"

        # The same content from the program is a repeat; the other one takes the next slot.
        contents = example("essay_content_provisioned"), another_content(tmp_path)
        await run(sys.executable, "-c", producer, addresses.broker, *contents)
        assert await next_line(reader) == "essay-002 holds text-009\n"
        printed = (await kcat(read, addresses.broker)).splitlines()

    assert [line.partition(" ")[0] for line in printed[::2]] == [BATCH, BATCH]
    assert all("content-type=application/json" in line and f"ce_subject={BATCH}" in line for line in printed[::2])
    assert ["text-001" in printed[1], "text-009" in printed[3]] == [True, True]
    await check_cloud_event(addresses.broker)


async def check_cloud_event(broker: str) -> None:
    """Check that the SDK of CloudEvents reads what the broker holds."""
    async with AIOKafkaConsumer(
        topics.SLOT_ASSIGNED, bootstrap_servers=broker, auto_offset_reset="earliest"
    ) as consumer:
        record = await asyncio.wait_for(consumer.getone(), TIMEOUT_SECONDS)
    event = from_binary(KafkaMessage(dict(record.headers), record.key, record.value or b""), JSONFormat())

    assert (event.get_type(), event.get_subject()) == (topics.SLOT_ASSIGNED, BATCH)
    assert event.get_datacontenttype() == "application/json"
    data = event.get_data()
    assert isinstance(data, dict)
    assert (data["event_id"], data["data"]["essay_id"]) == (event.get_id(), "essay-001")
