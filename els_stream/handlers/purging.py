"""Retention: finished GUEST batches leave after their time, in chunks, oldest first; and erasure on request.

A chunk is a transaction: a kill leaves each batch whole or gone. Claims go on meanwhile, since a purge never waits for
a tracker row and holds few at a time.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from els_stream.decisions.purging import AnotherPurgeRuns, Purged, PurgeResult, Removed
from els_stream.statements import purge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_LOCK_TIMEOUT = "55P03"


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """GUEST batches that completed `older_than_days` ago, in chunks of at most `chunk` with a pause (s) between.

    `abandoned`: instead those that were registered that long ago and never completed. `every`: only if no such run
    began within that time.
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
    """How far a run is. `passed` are batches that it may not touch now, so that it does not meet them again."""

    log_id: int
    chunk: int
    removed: Removed = field(default_factory=Removed)
    passed: set[str] = field(default_factory=set)


async def purge_guests(
    engine: AsyncEngine, plan: PurgePlan, *, stopping: Callable[[], bool], progress: Callable[[Removed], None]
) -> PurgeResult:
    """Purge until nothing old is left or `stopping` says so; `progress` is told after each chunk.

    Only one purge runs at a time, over all workers and commands.
    """
    async with _only_one(engine) as alone:
        if not alone:
            return AnotherPurgeRuns()
        async with engine.begin() as conn:
            if plan.every is not None and await purge.ran_within(conn, plan.action, plan.every):
                return Purged(Removed())
            run = _Run(await purge.begin_log(conn, plan.action, "GUEST", plan.older_than_days), plan.chunk)
        while not stopping():
            if not await _chunk(engine, plan, run):
                return Purged(run.removed)
            progress(run.removed)
            await asyncio.sleep(plan.pause_seconds)
        return Purged(run.removed, finished=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What the timer keeps to: see the settings of the same names. `abandoned_days` of 0 means never."""

    enabled: bool
    guest_days: int
    abandoned_days: int
    tombstone_days: int
    every: timedelta
    chunk: int
    pause_seconds: float

    def plans(self) -> Iterator[PurgePlan]:
        yield PurgePlan(self.guest_days, self.chunk, self.pause_seconds, every=self.every)
        if self.abandoned_days:
            yield PurgePlan(self.abandoned_days, self.chunk, self.pause_seconds, abandoned=True, every=self.every)


async def keep_retention(engine: AsyncEngine, retention: Retention) -> int:
    """Purge what is due and drop tombstones that are old enough; how many batches were purged."""
    if not retention.enabled:
        return 0
    batches = 0
    for plan in retention.plans():
        result = await purge_guests(engine, plan, stopping=lambda: False, progress=lambda _: None)
        if isinstance(result, Purged):
            batches += result.removed.batches
    dropped = retention.chunk
    while dropped == retention.chunk:
        async with engine.begin() as conn:
            dropped = await purge.drop_tombstones(conn, timedelta(days=retention.tombstone_days), retention.chunk)
    return batches


async def count_guests(conn: AsyncConnection, older_than_days: int) -> Removed:
    """What `purge_guests` would remove now; changes nothing."""
    return await purge.count(conn, await purge.old(conn, timedelta(days=older_than_days)))


async def _chunk(engine: AsyncEngine, plan: PurgePlan, run: _Run) -> bool:
    """One transaction; false when nothing old is left. A lock timeout halves the chunks to come."""
    lock = purge.lock_abandoned if plan.abandoned else purge.lock_old
    try:
        async with engine.begin() as conn:
            locked = await lock(conn, plan.age, run.chunk, run.passed)
            unpublished = await purge.unpublished(conn, locked)
            run.passed |= unpublished
            going = [batch_id for batch_id in locked if batch_id not in unpublished]
            removed = run.removed + await purge.remove(conn, going) if going else run.removed
            await purge.write_log(conn, run.log_id, removed.batches, removed.rows)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_TIMEOUT or run.chunk == 1:
            raise
        run.chunk //= 2
        return True
    run.removed = removed
    return bool(locked)


@dataclass(frozen=True, slots=True)
class Erased:
    removed: Removed


@dataclass(frozen=True, slots=True)
class StillPublishing:
    """The batch has events to send: erase it once they are gone."""


@dataclass(frozen=True, slots=True)
class NothingToErase:
    """No such batch, or it is a tombstone already."""


ErasureResult = Erased | StillPublishing | NothingToErase


async def erase_batch(conn: AsyncConnection, batch_id: str, *, dry_run: bool) -> ErasureResult:
    """Remove one batch of any class and age; leaves an audit row without personal data."""
    class_type = await purge.lock_one(conn, batch_id)
    if class_type is None:
        return NothingToErase()
    if await purge.unpublished(conn, [batch_id]):
        return StillPublishing()
    if dry_run:
        return Erased(await purge.count(conn, [batch_id]))
    removed = await purge.remove(conn, [batch_id])
    await purge.write_log(
        conn, await purge.begin_log(conn, "erase_batch", class_type, None), removed.batches, removed.rows
    )
    return Erased(removed)


async def forget_student(conn: AsyncConnection, student_id: str) -> int:
    """Clear one student's associations; the audit row says how many, and not whose."""
    essays = await purge.forget_student(conn, student_id)
    log_id = await purge.begin_log(conn, "erase_student", None, None)
    await purge.write_log(conn, log_id, 0, {"associations": essays})
    return essays


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
