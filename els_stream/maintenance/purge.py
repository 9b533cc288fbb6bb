"""Retention: finished GUEST batches leave after their time, in chunks, oldest first.

A chunk is a transaction: a kill leaves each batch whole or gone. Claims go on meanwhile, since a purge never waits for
a tracker row and holds few at a time.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from els_stream.domain.purge_results import AnotherPurgeRuns, NotDue, Purged, PurgeResult, Removed
from els_stream.queries import purge, purge_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from els_stream.queries.purge import PurgeCursor

# Lock timeout, statement timeout, deadlock.
_TOO_MUCH_AT_ONCE: Final = frozenset({"55P03", "57014", "40P01"})
# After a chunk that went well, the next is larger by this share of what is asked for.
_GROWTH: Final = 0.1
_STOP_GRACE_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """GUEST batches that completed `older_than_days` ago, in chunks of at most `chunk` with a pause (s) between.

    `abandoned`: instead those that were registered that long ago and never completed. `every`: only if no such run
    began within that time and came to its end.
    """

    older_than_days: int
    chunk: int = 100
    pause_seconds: float = 0.02
    abandoned: bool = False
    every: timedelta | None = None

    @property
    def action(self) -> str:
        return "purge_abandoned" if self.abandoned else "purge"

    @property
    def age(self) -> timedelta:
        return timedelta(days=self.older_than_days)


@dataclass(slots=True)
class _Run:
    """How far a run is: the last batch that it had in hand, and how many it dares to take at once."""

    log_id: int
    chunk: int
    after: PurgeCursor = purge.BEFORE_ALL
    removed: Removed = field(default_factory=Removed)


async def purge_guests(
    engine: AsyncEngine, plan: PurgePlan, *, stop: asyncio.Event, progress: Callable[[Removed], None]
) -> PurgeResult:
    """Purge until nothing old is left, or soon after `stop` is set; `progress` is told after each chunk.

    Only one purge runs at a time, over all workers and commands. A chunk that takes longer than a stop may is undone.
    """
    async with _only_one(engine) as alone:
        if not alone:
            return AnotherPurgeRuns()
        async with engine.begin() as conn:
            if plan.every is not None and await _is_done(conn, plan, plan.every):
                return NotDue()
            run = _Run(await purge_log.begin(conn, plan.action, "GUEST", plan.older_than_days), plan.chunk)
        while not stop.is_set():
            if not await _until(stop, _chunk(engine, plan, run)):
                break
            progress(run.removed)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), plan.pause_seconds)
        if stop.is_set():
            return Purged(run.removed, finished=False)
        async with engine.begin() as conn:
            await purge_log.finish(conn, run.log_id)
        return Purged(run.removed)


async def count_guests(conn: AsyncConnection, older_than_days: int) -> Removed:
    """What `purge_guests` would remove now; changes nothing."""
    return await purge.count_old(conn, timedelta(days=older_than_days))


async def _is_done(conn: AsyncConnection, plan: PurgePlan, every: timedelta) -> bool:
    return await purge_log.finished_within(conn, plan.action, plan.older_than_days, every)


async def _chunk(engine: AsyncEngine, plan: PurgePlan, run: _Run) -> bool:
    """One transaction; false when nothing old is left.

    What is too much at once is tried again as half as much; one batch that is too much alone is left for another run.
    """
    oldest: list[PurgeCursor] = []
    try:
        async with engine.begin() as conn:
            oldest = await purge.lock_oldest(conn, plan.age, after=run.after, limit=run.chunk, abandoned=plan.abandoned)
            if not oldest:
                return False
            removed = run.removed + await _remove(conn, [place.batch_id for place in oldest])
            await purge_log.write(conn, run.log_id, removed.batches, removed.rows)
    except DBAPIError as error:
        if not oldest or getattr(error.orig, "sqlstate", None) not in _TOO_MUCH_AT_ONCE:
            raise
        if run.chunk == 1:
            run.after = oldest[-1]
        run.chunk = max(1, run.chunk // 2)
        return True
    run.after, run.removed = oldest[-1], removed
    run.chunk = min(plan.chunk, run.chunk + max(1, round(plan.chunk * _GROWTH)))
    return True


async def _remove(conn: AsyncConnection, locked: list[str]) -> Removed:
    """Those of them whose events are all sent."""
    waiting = await purge.unpublished(conn, locked)
    going = [batch_id for batch_id in locked if batch_id not in waiting]
    return await purge.remove(conn, going) if going else Removed()


async def _until(stop: asyncio.Event, chunk: Coroutine[None, None, bool]) -> bool:
    """What the chunk says. After a stop it has a moment to end; then it is rolled back, which says false."""
    work, stopped = asyncio.ensure_future(chunk), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=_STOP_GRACE_SECONDS)
        return work.done() and work.result()
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)


@asynccontextmanager
async def _only_one(engine: AsyncEngine) -> AsyncIterator[bool]:
    """A session lock on a connection outside any transaction: it may be held for long, and ends with the process."""
    async with engine.connect() as plain:
        conn = await plain.execution_options(isolation_level="AUTOCOMMIT")
        alone = await purge.try_lock(conn)
        try:
            yield alone
        finally:
            if alone:
                await purge.unlock(conn)
