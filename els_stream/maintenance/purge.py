"""Retention: old GUEST batches are purged in chunks, oldest first, and tombstones are deleted after a longer time.

Each chunk is one transaction, so a killed purge leaves every batch whole or gone. A purge never waits for a tracker
row and locks few at a time, so it does not slow down the handlers.
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
from els_stream.tasks import run_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.queries.purge import PurgeCursor

# Lock timeout, statement timeout, deadlock: SQLSTATEs of a chunk that was too large.
_CHUNK_TOO_LARGE: Final = frozenset({"55P03", "57014", "40P01"})
# After a chunk that succeeded the next one grows by this fraction of the configured size.
_GROWTH: Final = 0.1
_STOP_GRACE_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """A purge of GUEST batches that completed more than `older_than_days` ago.

    A chunk is at most `chunk` batches, with a pause after each. `abandoned` selects instead the batches that were
    registered that long ago and never completed. With `every`, the purge runs only if no such run that began within
    that time was finished.
    """

    older_than_days: int
    chunk: int = 100
    pause_seconds: float = 0.02
    abandoned: bool = False
    every: timedelta | None = None

    @classmethod
    def from_settings(cls, settings: Settings, older_than_days: int) -> PurgePlan:
        return cls(older_than_days, settings.purge_chunk_batches, settings.purge_pause_seconds)

    @property
    def action(self) -> str:
        return "purge_abandoned" if self.abandoned else "purge"

    @property
    def age(self) -> timedelta:
        return timedelta(days=self.older_than_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The settings of the retention timer. `abandoned_days` of 0 turns the purge of abandoned batches off."""

    enabled: bool
    guest_days: int
    abandoned_days: int
    tombstone_days: int
    every: timedelta
    chunk: int
    pause_seconds: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Retention:
        return cls(
            enabled=settings.purge_enabled,
            guest_days=settings.purge_retention_days,
            abandoned_days=settings.purge_abandoned_after_days,
            tombstone_days=settings.tombstone_retention_days,
            every=timedelta(hours=settings.purge_interval_hours),
            chunk=settings.purge_chunk_batches,
            pause_seconds=settings.purge_pause_seconds,
        )

    def plans(self) -> Iterator[PurgePlan]:
        """Yield the purges that the timer runs when they are due."""
        yield PurgePlan(self.guest_days, self.chunk, self.pause_seconds, every=self.every)
        if self.abandoned_days:
            yield PurgePlan(self.abandoned_days, self.chunk, self.pause_seconds, abandoned=True, every=self.every)


@dataclass(slots=True)
class _Progress:
    """The state of one purge: the last batch that it processed, and the size of its next chunk."""

    log_id: int
    chunk: int
    after: PurgeCursor = purge.BEFORE_ALL
    removed: Removed = field(default_factory=Removed)


async def apply_retention(engine: AsyncEngine, retention: Retention) -> int:
    """Run the purges that are due and delete old tombstones; return the number of purged batches.

    When cancelled, the open chunk is rolled back, and the next round of any worker goes on.
    """
    if not retention.enabled:
        return 0
    batches = 0
    for plan in retention.plans():
        result = await purge_guests(engine, plan, stop=asyncio.Event(), progress=lambda _: None)
        if isinstance(result, Purged):
            batches += result.removed.batches
    deleted = retention.chunk
    while deleted == retention.chunk:
        async with engine.begin() as conn:
            deleted = await purge.delete_tombstones(conn, timedelta(days=retention.tombstone_days), retention.chunk)
    return batches


async def purge_guests(
    engine: AsyncEngine, plan: PurgePlan, *, stop: asyncio.Event, progress: Callable[[Removed], None]
) -> PurgeResult:
    """Purge until no old batch is left or `stop` is set; call `progress` with the totals after each chunk.

    One purge runs at a time over all workers and commands. A chunk that is open 0.3 s after `stop` is rolled back.
    """
    async with purge_lock(engine) as acquired:
        if not acquired:
            return AnotherPurgeRuns()
        async with engine.begin() as conn:
            if plan.every is not None and await _is_done(conn, plan, plan.every):
                return NotDue()
            run = _Progress(await purge_log.begin(conn, plan.action, "GUEST", plan.older_than_days), plan.chunk)
        while await run_until(stop, _purge_chunk(engine, plan, run), grace_seconds=_STOP_GRACE_SECONDS):
            progress(run.removed)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), plan.pause_seconds)
        if stop.is_set():
            return Purged(run.removed, finished=False)
        async with engine.begin() as conn:
            await purge_log.finish(conn, run.log_id)
        return Purged(run.removed)


async def count_guests(conn: AsyncConnection, older_than_days: int) -> Removed:
    """Count what `purge_guests` would remove now; changes nothing."""
    return await purge.count_old(conn, timedelta(days=older_than_days))


@asynccontextmanager
async def purge_lock(engine: AsyncEngine) -> AsyncIterator[bool]:
    """Try to take the lock of all purges; yield whether this process has it. Never waits.

    It is a session lock on a connection outside any transaction: it may be held for long, and ends with the process.
    """
    async with engine.connect() as plain:
        conn = await plain.execution_options(isolation_level="AUTOCOMMIT")
        acquired = await purge.try_lock(conn)
        try:
            yield acquired
        finally:
            if acquired:
                await purge.unlock(conn)


async def _is_done(conn: AsyncConnection, plan: PurgePlan, every: timedelta) -> bool:
    return await purge_log.finished_within(conn, plan.action, plan.older_than_days, every)


async def _purge_chunk(engine: AsyncEngine, plan: PurgePlan, run: _Progress) -> bool:
    """Purge one chunk in one transaction; return False when no old batch is left.

    A chunk that was too large is retried at half the size; a single batch that is too large is skipped in this run.
    """
    oldest: list[PurgeCursor] = []
    try:
        async with engine.begin() as conn:
            oldest = await purge.lock_oldest(conn, plan.age, after=run.after, limit=run.chunk, abandoned=plan.abandoned)
            if not oldest:
                return False
            removed = run.removed + await _remove(conn, [cursor.batch_id for cursor in oldest])
            await purge_log.write(conn, run.log_id, removed.batches, removed.rows)
    except DBAPIError as error:
        if not oldest or getattr(error.orig, "sqlstate", None) not in _CHUNK_TOO_LARGE:
            raise
        if run.chunk == 1:
            run.after = oldest[-1]
        run.chunk = max(1, run.chunk // 2)
        return True
    run.after, run.removed = oldest[-1], removed
    run.chunk = min(plan.chunk, run.chunk + max(1, round(plan.chunk * _GROWTH)))
    return True


async def _remove(conn: AsyncConnection, locked: list[str]) -> Removed:
    """Remove those of the locked batches whose events are all published."""
    unpublished = await purge.unpublished(conn, locked)
    removable = [batch_id for batch_id in locked if batch_id not in unpublished]
    return await purge.remove(conn, removable) if removable else Removed()
