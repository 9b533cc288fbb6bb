"""Timer: compaction of the rows of `batch_counts`, whose sum is the number of completed batches."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.maintenance.scheduler import StepResult, TimerName, Timers
from els_stream.queries.batch_counts import compact

COMPACT_INTERVAL_SECONDS: Final = 30.0


async def compact_counts(timers: Timers) -> None:
    """Replace the change rows by their sum, so that reading it stays cheap."""

    async def step(conn: AsyncConnection) -> StepResult:
        await compact(conn)
        return StepResult(0, more=False)

    await timers.run(TimerName.COMPACT_COUNTS, COMPACT_INTERVAL_SECONDS, step)
