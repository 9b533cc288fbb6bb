"""`els watch` on a real database, in a real terminal."""

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

ENDS_WITHIN = 10
APPEARS_WITHIN = 30


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {
        "ELS_BROKER_URL": "127.0.0.1:1",
        "ELS_DATABASE_URL": database,
        "ELS_STATE_DIR": str(tmp_path),
        "ELS_WEB_PORT": "1",
        "TERM": "xterm",
    }


async def test_one_frame_is_printed_where_there_is_no_terminal(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    await harness.together(harness.registration("the-class-of-9b", essays=3))
    await harness.together(harness.content(0, "the-class-of-9b"))

    shown = await els(environment, "watch")

    assert shown.exit_code == 0
    assert "no worker answers at http://127.0.0.1:1" in shown.stdout
    assert "active batches 1" in shown.stdout
    assert "1 of 3" in next(line for line in shown.stdout.splitlines() if line.startswith("the-class-of-9b"))
    assert "\x1b" not in shown.stdout


async def test_a_database_that_is_away_ends_the_one_frame_with_3(environment: Mapping[str, str]) -> None:
    ended = await els({**environment, "ELS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "watch", "--once")

    assert (ended.exit_code, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)


async def test_a_terminal_sees_a_batch_fill_until_ctrl_c(harness: BatchHarness, environment: Mapping[str, str]) -> None:
    await harness.together(harness.registration("the-class-of-9b", essays=3))
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", "watch", "--every", "0.2"),
        env=os.environ | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(screen), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        await asyncio.wait_for(screen.readuntil(b"0 of 3"), APPEARS_WITHIN)
        await harness.together(*harness.contents([0, 1], "the-class-of-9b"))
        await asyncio.wait_for(screen.readuntil(b"2 of 3"), APPEARS_WITHIN)
        process.send_signal(signal.SIGINT)

        assert await asyncio.wait_for(process.wait(), ENDS_WITHIN) == 0
    finally:
        if process.returncode is None:
            process.kill()
        transport.close()
