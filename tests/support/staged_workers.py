"""Races with the curtain up: workers that stop before their commit, and waits that end when the lock queue says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events.records import RawRecord
from tests.support.batch_harness import BatchHarness
from tests.support.waiting import until

PATIENCE = 10
WorkT = TypeVar("WorkT")
_WAITS = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
_PID = text("SELECT pg_backend_pid()")


@dataclass
class Worker:
    """One connection in one transaction, which ends when the test says so."""

    harness: BatchHarness
    conn: AsyncConnection
    pid: int

    async def apply(self, *records: RawRecord) -> list[str]:
        async with asyncio.timeout(PATIENCE):
            return [outcome.label for outcome in await self.harness.apply(self.conn, records)]

    async def blocked(self, *records: RawRecord) -> asyncio.Task[list[str]]:
        """Starts what must wait for another's lock, and returns once it does."""
        return await self.blocked_in(self.apply(*records))

    async def blocked_in(self, work: Coroutine[Any, Any, WorkT]) -> asyncio.Task[WorkT]:
        """The same for any work on this worker's connection."""
        task = asyncio.create_task(work)

        async def waits() -> bool:
            assert not task.done(), f"it should have waited: {task}"
            async with self.harness.engine.connect() as observer:
                return bool(await observer.scalar(_WAITS, {"pid": self.pid}))

        await until(waits, seconds=PATIENCE)
        return task

    async def execute(self, sql: str, **parameters: object) -> None:
        await self.conn.execute(text(sql), parameters)

    async def commit(self) -> None:
        await self.conn.commit()

    async def rollback(self) -> None:
        await self.conn.rollback()


@asynccontextmanager
async def worker(harness: BatchHarness) -> AsyncIterator[Worker]:
    """What it did not commit is rolled back at the end."""
    async with harness.engine.connect() as conn:
        pid = await conn.scalar(_PID)
        assert isinstance(pid, int)
        yield Worker(harness, conn, pid)


_UNHURRIED = text("""
    SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('transaction_timeout', '0', true)
""")
_HOLD_ESSAYS = text("SELECT 1 FROM essay_states WHERE batch_id = :batch_id FOR UPDATE")
_HOLD_BATCH = text("SELECT 1 FROM batch_essay_trackers WHERE batch_id = :batch_id FOR UPDATE")


@asynccontextmanager
async def locked_essays(harness: BatchHarness, batch_id: str) -> AsyncIterator[None]:
    """Somebody holds the essays of a batch, for as long as the block lasts."""
    async with harness.engine.connect() as other:
        await other.execute(_UNHURRIED)
        await other.execute(_HOLD_ESSAYS, {"batch_id": batch_id})
        yield


@asynccontextmanager
async def locked_batch(harness: BatchHarness, batch_id: str) -> AsyncIterator[None]:
    """The same with its tracker row."""
    async with harness.engine.connect() as other:
        await other.execute(_UNHURRIED)
        await other.execute(_HOLD_BATCH, {"batch_id": batch_id})
        yield
