"""Commands and workers in a restricted pod, and a worker whose web address can't be had."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from els_stream.embedded.servers import Addresses
from tests.support.pod import in_pod, pod_environment
from tests.support.waiting import until

READY_SECONDS = 30
LISTENS = "web server listens on "
SERVICE_LINE = "els: ELS_WEB_PORT and 4 more: set by Kubernetes for a Service, not a setting, ignored"


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A folder that any user may read, as pods have their secrets; pytest's folders are for their owner only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def environment(addresses: Addresses, database: str, topic_prefix: str, mounted: Path) -> dict[str, str]:
    """The pod's environment; the database's address is a mounted secret."""
    secret = mounted / "database-url"
    secret.write_text(database)
    return pod_environment(
        ELS_BROKER_URL=addresses.broker,
        ELS_DATABASE_URL_FILE=str(secret),
        ELS_TOPIC_PREFIX=topic_prefix,
        ELS_CONSUMER_GROUP=f"{topic_prefix}group",
    )


async def ended(environment: dict[str, str], *arguments: str) -> tuple[int | None, list[str]]:
    command = in_pod(sys.executable, "-m", "els_stream", *arguments)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
    _, stderr = await process.communicate()
    return process.returncode, stderr.decode().splitlines()


async def test_commands_run_in_a_restricted_pod(environment: dict[str, str], kafka_topics: dict[str, str]) -> None:
    assert kafka_topics
    commands = (
        ["migrate"],
        ["topics"],
        ["verify", "--kafka"],
        ["dlq", "discard", "1", "--yes"],
        ["purge", "--older-than-days", "14"],
    )

    for code, (first, *others) in await asyncio.gather(*(ended(environment, *command) for command in commands)):
        assert (code, others) == (0, [])
        assert first.startswith(SERVICE_LINE)


async def test_a_command_that_needs_a_folder_names_it(environment: dict[str, str]) -> None:
    code, lines = await ended({**environment, "ELS_STATE_DIR": "/attic/els"}, "demo", "--batches", "1")

    assert code == 2
    assert lines[-1] in {"els: /attic: Read-only file system", "els: /attic/els: Read-only file system"}


async def is_ready(http: aiohttp.ClientSession, address: str) -> bool:
    async with http.get(f"{address}/readyz") as answer:
        return answer.status == 200


async def test_a_worker_runs_in_a_restricted_pod(environment: dict[str, str], kafka_topics: dict[str, str]) -> None:
    assert kafka_topics
    command = in_pod(sys.executable, "-m", "els_stream", "worker", "--web-port", "0")
    worker = await asyncio.create_subprocess_exec(*command, env=environment, stderr=PIPE)
    assert worker.stderr is not None
    lines: list[str] = []
    try:
        while LISTENS not in "".join(lines[-1:]):
            lines.append((await worker.stderr.readline()).decode())
            assert lines[-1], lines
        address = lines[-1].partition(LISTENS)[2].partition('"')[0]
        async with aiohttp.ClientSession() as http:
            await until(lambda: is_ready(http, address), seconds=READY_SECONDS)
    finally:
        worker.send_signal(signal.SIGTERM)
        _, rest = await worker.communicate()

    assert worker.returncode == 0
    assert lines[0].startswith(SERVICE_LINE)
    assert b"Traceback" not in "".join(lines).encode() + rest


async def test_a_web_address_that_this_machine_does_not_have_ends_a_worker_with_one_line(
    environment: dict[str, str], kafka_topics: dict[str, str]
) -> None:
    assert kafka_topics
    elsewhere = {"ELS_WEB_HOST": "192.0.2.1", "ELS_WEB_TOKEN": "a-token-of-enough-length"}
    command = [sys.executable, "-m", "els_stream", "worker"]
    worker = await asyncio.create_subprocess_exec(*command, env=os.environ | environment | elsewhere, stderr=PIPE)
    _, stderr = await worker.communicate()

    assert worker.returncode == 2
    assert "Traceback" not in stderr.decode()
    assert [line for line in stderr.decode().splitlines() if line.startswith("els: ELS_WEB_HOST=192.0.2.1")] != []
