"""`els watch` on a real database, in a pipe and in a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.batch_harness import BatchHarness
from tests.support.cli import els

EXIT_TIMEOUT_SECONDS = 10
OUTPUT_TIMEOUT_SECONDS = 30


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {
        "ELS_BROKER_URL": "127.0.0.1:1",
        "ELS_DATABASE_URL": database,
        "ELS_STATE_DIR": str(tmp_path),
        "ELS_WEB_PORT": "1",
        "TERM": "xterm",
    }


async def test_in_a_pipe_it_prints_once(harness: BatchHarness, environment: Mapping[str, str]) -> None:
    await harness.together(harness.registration("the-class-of-9b", essays=3))
    await harness.together(harness.content(0, "the-class-of-9b"))

    shown = await els(environment, "watch")

    assert shown.exit_code == 0
    assert "no worker answers at http://127.0.0.1:1" in shown.stdout
    assert "active batches 1" in shown.stdout
    assert "1 of 3" in next(line for line in shown.stdout.splitlines() if line.startswith("the-class-of-9b"))
    assert "\x1b" not in shown.stdout


async def test_an_unreachable_database_exits_with_3(environment: Mapping[str, str]) -> None:
    result = await els({**environment, "ELS_DATABASE_URL": "postgresql://someone@127.0.0.1:1/none"}, "watch", "--once")

    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)


async def test_in_a_terminal_it_is_refreshed_until_ctrl_c(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    await harness.together(harness.registration("the-class-of-9b", essays=3))
    terminal, program_side = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", "watch", "--every", "0.2"),
        env=os.environ | environment,
        stdin=program_side,
        stdout=program_side,
        stderr=program_side,
    )
    os.close(program_side)
    screen = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(screen), os.fdopen(terminal, "rb", buffering=0)
    )
    try:
        await asyncio.wait_for(screen.readuntil(b"0 of 3"), OUTPUT_TIMEOUT_SECONDS)
        await harness.together(*harness.contents([0, 1], "the-class-of-9b"))
        await asyncio.wait_for(screen.readuntil(b"2 of 3"), OUTPUT_TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)

        assert await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
        transport.close()
