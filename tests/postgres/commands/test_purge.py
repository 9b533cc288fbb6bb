"""`els purge` as a process: its output, and the state it leaves when it is stopped or killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.maintenance import purge
from tests.support.batch_harness import BatchHarness
from tests.support.cli import els, els_process
from tests.support.finished_batches import add_completed_batch, add_old_batches, all_rows, find_violations, make_older
from tests.support.staged_workers import locked_essays
from tests.support.waiting import until

OLD = ("purge", "--older-than-days", "14")
START_TIMEOUT_SECONDS = 30
EXIT_TIMEOUT_SECONDS = 10
STATES = "SELECT batch_id, state FROM batch_essay_trackers ORDER BY completed_at"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'els command' AND wait_event_type = 'Lock'"
CONNECTED = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'els command'"


@pytest.fixture
async def harness(engine: AsyncEngine) -> AsyncIterator[BatchHarness]:
    yield BatchHarness(engine=engine)
    assert await find_violations(engine) == []


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {
        "ELS_BROKER_URL": "127.0.0.1:1",
        "ELS_DATABASE_URL": database,
        "ELS_STATE_DIR": str(tmp_path),
        "ELS_PURGE_CHUNK_BATCHES": "2",
        "ELS_LOCK_TIMEOUT_SECONDS": "20",
        "ELS_STATEMENT_TIMEOUT_SECONDS": "25",
    }


async def test_a_dry_run_prints_the_same_table_and_changes_nothing(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    for batch_id in ("first", "second"):
        await add_completed_batch(harness, batch_id)
        await make_older(harness, batch_id, 15)
    await add_completed_batch(harness, "young")
    before = await all_rows(harness)

    dry = await els(environment, *OLD, "--dry-run")
    as_json = await els(environment, *OLD, "--dry-run", "--json")
    assert await all_rows(harness) == before
    exit_code, removed, stderr = await els_process(environment, *OLD)

    assert (dry.exit_code, exit_code, dry.stderr, stderr) == (0, 0, "", "")
    assert (dry.stdout.splitlines()[0], removed.splitlines()[0]) == ("would remove:", "removed:")
    assert dry.stdout.splitlines()[1:] == removed.splitlines()[1:]
    assert dry.stdout.splitlines()[1].split() == ["table", "GUEST", "REGULAR"]
    assert dry.stdout.splitlines()[2].split() == ["batches", "2", "0"]
    body = json.loads(as_json.stdout)
    assert (body["outcome"], body["older_than_days"]) == ("would remove", 14)
    assert body["rows"]["GUEST"]["essay_states"] == 4


async def test_it_is_installed_as_db_purge_guest_too(harness: BatchHarness, environment: Mapping[str, str]) -> None:
    await add_old_batches(harness, 1)
    script = Path(sys.executable).with_name("db-purge-guest")
    process = await asyncio.create_subprocess_exec(
        script, "--older-than-days", "14", "--json", env=os.environ | environment, stdout=PIPE
    )
    stdout, _ = await process.communicate()

    assert process.returncode == 0
    assert json.loads(stdout)["rows"]["GUEST"]["batches"] == 1


async def test_the_second_of_two_purges_does_nothing_and_exits_with_0(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    await add_old_batches(harness, 1)
    async with purge.purge_lock(harness.engine) as alone:
        assert alone
        second = await els_process(environment, *OLD)

    assert second == (0, "", "els: another purge is running: nothing was done\n")
    assert await harness.rows("SELECT 1 FROM purge_log") == []


async def test_an_unreachable_database_exits_with_3_and_one_line(environment: Mapping[str, str]) -> None:
    nowhere = {**environment, "ELS_DATABASE_URL": "postgresql://someone@127.0.0.1:1/none"}
    exit_code, stdout, stderr = await els_process(nowhere, *OLD)
    assert (exit_code, stdout, stderr.count("\n")) == (3, "", 1)

    for command in ((*OLD, "--dry-run"), ("erase", "7d3c"), ("erase", "--student", "pippi")):
        result = await els(nowhere, *command)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)


async def test_a_kill_within_a_chunk_leaves_each_batch_complete_or_purged(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    batches = await add_old_batches(harness, 6)
    async with blocked_purge(harness, environment, batches[3]) as process:
        process.kill()
        await process.wait()

    async def gone() -> bool:
        return not await harness.rows(CONNECTED)

    await until(gone)
    assert await batch_states(harness) == ["purged"] * 2 + ["completed"] * 4
    (killed,) = await harness.rows("SELECT batches, finished_at FROM purge_log")
    assert tuple(killed) == (2, None)

    assert await purged_by_another_run(environment) == 4


async def test_sigterm_stops_it_while_it_waits_for_a_lock(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    batches = await add_old_batches(harness, 6)
    async with blocked_purge(harness, environment, batches[3]) as process:
        process.send_signal(signal.SIGTERM)
        stdout, stderr = await asyncio.wait_for(process.communicate(), EXIT_TIMEOUT_SECONDS)

    assert process.returncode == 0
    assert json.loads(stdout)["outcome"] == "stopped"
    assert stderr == b"els: stopped early: the next run continues from here\n"
    assert await batch_states(harness) == ["purged"] * 2 + ["completed"] * 4

    assert await purged_by_another_run(environment) == 4


async def purged_by_another_run(environment: Mapping[str, str]) -> int:
    _, stdout, _ = await els_process(environment, *OLD, "--json")
    return int(json.loads(stdout)["rows"]["GUEST"]["batches"])


async def batch_states(harness: BatchHarness) -> list[str]:
    """Return the states of all batches, the oldest first; check that each has all of its rows or none."""
    states = await harness.rows(STATES)
    essays = await harness.rows("SELECT batch_id FROM essay_states")
    assert {row.batch_id for row in states if row.state == "completed"} == {row.batch_id for row in essays}
    return [row.state for row in states]


@asynccontextmanager
async def blocked_purge(harness: BatchHarness, environment: Mapping[str, str], batch_id: str) -> AsyncIterator[Process]:
    """Start a purge whose second chunk waits, until the block ends, for the lock of an essay."""
    async with locked_essays(harness, batch_id):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "els_stream", *OLD, "--json"),
            env=os.environ | environment,
            stdout=PIPE,
            stderr=PIPE,
        )

        async def waits() -> bool:
            return bool(await harness.rows(WAITING))

        try:
            await until(waits, seconds=START_TIMEOUT_SECONDS)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
