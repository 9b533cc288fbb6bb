"""Workers whose transactions a test ends, so that races happen in a known order."""

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

MAX_WAIT_SECONDS = 10
WorkT = TypeVar("WorkT")
_WAITS = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
_PID = text("SELECT pg_backend_pid()")


@dataclass
class Worker:
    """A connection in a transaction that the test ends."""

    harness: BatchHarness
    conn: AsyncConnection
    pid: int

    async def apply(self, *records: RawRecord) -> list[str]:
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            return [outcome.label for outcome in await self.harness.apply(self.conn, records)]

    async def blocked(self, *records: RawRecord) -> asyncio.Task[list[str]]:
        """Start to apply records that must wait for a lock; return once they wait."""
        return await self.blocked_in(self.apply(*records))

    async def blocked_in(self, work: Coroutine[Any, Any, WorkT]) -> asyncio.Task[WorkT]:
        """Start any work on this connection that must wait for a lock; return once it waits."""
        task = asyncio.create_task(work)

        async def waits() -> bool:
            assert not task.done(), f"it should have waited: {task}"
            async with self.harness.engine.connect() as observer:
                return bool(await observer.scalar(_WAITS, {"pid": self.pid}))

        await until(waits, seconds=MAX_WAIT_SECONDS)
        return task

    async def execute(self, sql: str, **parameters: object) -> None:
        await self.conn.execute(text(sql), parameters)

    async def commit(self) -> None:
        await self.conn.commit()

    async def rollback(self) -> None:
        await self.conn.rollback()


@asynccontextmanager
async def worker(harness: BatchHarness) -> AsyncIterator[Worker]:
    """Yield a worker; roll its open transaction back at the end."""
    async with harness.engine.connect() as conn:
        pid = await conn.scalar(_PID)
        assert isinstance(pid, int)
        yield Worker(harness, conn, pid)


_NO_TIMEOUTS = text("""
    SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('transaction_timeout', '0', true)
""")
_LOCK_ESSAYS = text("SELECT 1 FROM essay_states WHERE batch_id = :batch_id FOR UPDATE")
_LOCK_BATCH = text("SELECT 1 FROM batch_essay_trackers WHERE batch_id = :batch_id FOR UPDATE")


@asynccontextmanager
async def locked_essays(harness: BatchHarness, batch_id: str) -> AsyncIterator[None]:
    """Lock the essay rows of a batch within the block."""
    async with harness.engine.connect() as other:
        await other.execute(_NO_TIMEOUTS)
        await other.execute(_LOCK_ESSAYS, {"batch_id": batch_id})
        yield


@asynccontextmanager
async def locked_batch(harness: BatchHarness, batch_id: str) -> AsyncIterator[None]:
    """Lock the tracker row of a batch within the block."""
    async with harness.engine.connect() as other:
        await other.execute(_NO_TIMEOUTS)
        await other.execute(_LOCK_BATCH, {"batch_id": batch_id})
        yield
