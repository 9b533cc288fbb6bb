"""The demo as its users start it, small, on the servers of the run."""

from __future__ import annotations

import asyncio
import os
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
LAST_STEP_BEFORE_TRAFFIC = "is its page"


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


async def until_said(process: Process, words: str) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if words in line.decode():
            return
    pytest.fail(f"the demo ended without a word of {words!r}")


async def outcome(process: Process) -> tuple[int, str]:
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def demo(environment: dict[str, str], *options: str) -> tuple[int, str]:
    async with started(environment, *options) as process:
        return await outcome(process)


def workers_of(process: Process) -> Sequence[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "worker" in child.cmdline()]


def logs_in(environment: dict[str, str]) -> list[Path]:
    return list(Path(environment["ELS_STATE_DIR"]).glob("*.log"))


async def left_on(addresses: Addresses) -> list[str]:
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


async def test_demo_shows_what_came_out_and_ends_well(environment: dict[str, str], addresses: Addresses) -> None:
    code, said = await demo(environment, *SMALL)

    assert (code, "✗" in said, "difference" in said) == (0, False, False), said
    assert "huleedu.els.batch.essays.ready.v1" in said
    assert "uploaded, never registered" in said
    assert said.splitlines()[-1] == "`make run` keeps a worker, with its page at http://127.0.0.1:6066/."
    assert await left_on(addresses) == []


async def test_demo_ends_badly_when_something_is_expected_that_never_comes(environment: dict[str, str]) -> None:
    code, said = await demo(environment, *SMALL, "--seed", "5", "--inject-error")

    assert code == 1, said
    assert "difference: batch-001" in said


async def test_ctrl_c_in_the_middle_of_the_demo_leaves_nothing_behind(
    environment: dict[str, str], addresses: Addresses
) -> None:
    async with started(environment, *LONG) as process:
        await until_said(process, LAST_STEP_BEFORE_TRAFFIC)
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        code, said = await outcome(process)

    assert code == 128 + signal.SIGINT, said
    assert len(workers) == 2
    assert not any(worker.is_running() for worker in workers)
    assert await left_on(addresses) == []
    assert logs_in(environment) == []


async def test_demo_ends_badly_when_a_worker_dies(environment: dict[str, str]) -> None:
    async with started(environment, *LONG) as process:
        await until_said(process, LAST_STEP_BEFORE_TRAFFIC)
        first, second = workers_of(process)
        first.kill()
        code, said = await outcome(process)

    assert code == 1, said
    assert f"a worker ended with {-signal.SIGKILL}" in said
    assert not second.is_running()
    assert len(logs_in(environment)) == 2
