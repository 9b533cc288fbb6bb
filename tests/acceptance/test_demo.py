"""Runs small demos as a user starts them, on the servers of this process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from els_stream.embedded.servers import Addresses

SMALL = ("--batches", "16", "--largest", "12")
LONG = ("--batches", "400")
BEFORE_TRAFFIC = "  page http"


@pytest.fixture
def environment(addresses: Addresses, tmp_path: Path) -> dict[str, str]:
    named = {"ELS_BROKER_URL": addresses.broker, "ELS_DATABASE_URL": addresses.database_url}
    return {**os.environ, **named, "ELS_STATE_DIR": str(tmp_path)}


@asynccontextmanager
async def started(environment: dict[str, str], *options: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", "demo", *options),
        env=environment,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def until_printed(process: Process, words: str) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if words in line.decode():
            return
    pytest.fail(f"the demo ended without printing {words!r}")


async def outcome(process: Process) -> tuple[int, str]:
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def demo(environment: dict[str, str], *options: str) -> tuple[int, str]:
    async with started(environment, *options) as process:
        return await outcome(process)


def workers_of(process: Process) -> Sequence[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "worker" in child.cmdline()]


def logs_in(environment: dict[str, str]) -> list[Path]:
    return list(Path(environment["ELS_STATE_DIR"]).glob("*.log"))


async def left_behind(addresses: Addresses) -> list[str]:
    connection = await asyncpg.connect(addresses.database_url)
    try:
        databases = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'demo%'")
    finally:
        await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.broker)
    await admin.start()
    try:
        topics = await admin.list_topics()
    finally:
        await admin.close()
    return [str(row["datname"]) for row in databases] + [topic for topic in topics if topic.startswith("demo")]


async def test_the_demo_prints_its_result_and_exits_with_0(environment: dict[str, str], addresses: Addresses) -> None:
    code, printed = await demo(environment, *SMALL)

    assert (code, "✗" in printed, "difference" in printed) == (0, False, False), printed
    assert "huleedu.els.batch.essays.ready.v1" in printed
    assert "uploaded, never registered" in printed
    assert printed.splitlines()[-1] == "`make run` keeps a worker, with its page at http://127.0.0.1:6066/."
    assert await left_behind(addresses) == []


@pytest.mark.long
async def test_two_cells_on_the_same_servers_do_not_see_each_other(
    environment: dict[str, str], addresses: Addresses
) -> None:
    """Its fast form is tests/acceptance/test_cells.py."""
    code, printed = await demo(environment, "--cells", "2", *SMALL)

    assert (code, "✗" in printed, "difference" in printed) == (0, False, False), printed
    assert len(re.findall(r"^cell demo-[0-9a-f]{8}, seed [12]$", printed, re.MULTILINE)) == 2
    assert printed.count("The output is as expected") == 2
    assert await left_behind(addresses) == []


async def test_the_demo_exits_with_1_if_an_expected_event_is_missing(environment: dict[str, str]) -> None:
    code, printed = await demo(environment, *SMALL, "--seed", "5", "--inject-error")

    assert code == 1, printed
    assert "difference: batch-001" in printed


async def test_ctrl_c_during_the_demo_leaves_no_worker_database_or_topic(
    environment: dict[str, str], addresses: Addresses
) -> None:
    async with started(environment, *LONG) as process:
        await until_printed(process, BEFORE_TRAFFIC)
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        code, printed = await outcome(process)

    assert code == 128 + signal.SIGINT, printed
    assert len(workers) == 2
    assert not any(worker.is_running() for worker in workers)
    assert await left_behind(addresses) == []
    assert logs_in(environment) == []


async def test_the_demo_exits_with_1_if_a_worker_ends(environment: dict[str, str]) -> None:
    async with started(environment, *LONG) as process:
        await until_printed(process, BEFORE_TRAFFIC)
        first, second = workers_of(process)
        first.kill()
        code, printed = await outcome(process)

    assert code == 1, printed
    assert f"a worker ended with {-signal.SIGKILL}" in printed
    assert not second.is_running()
    assert len(logs_in(environment)) == 2


@pytest.mark.long
async def test_the_secure_demo_passes_and_leaves_nothing(tmp_path: Path) -> None:
    """Its fast form are the tests of logins and of TLS to the database."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ELS_")}
    environment["ELS_STATE_DIR"] = str(tmp_path)

    code, printed = await demo(environment, "--secure", *SMALL)

    assert code == 0, printed
    assert "PostgreSQL with TLS, Kafka with TLS and SCRAM" in printed
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_the_secure_demo_uses_no_servers_of_others(environment: dict[str, str]) -> None:
    code, printed = await demo(environment, "--secure", *SMALL)

    assert code == 2
    assert printed.splitlines()[-1] == (
        "els: the secure demo starts servers of its own: unset ELS_BROKER_URL and ELS_DATABASE_URL"
    )
