"""The running count of completed batches, which the gauges add up."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.maintenance.scheduler import StepResult, TimerName, Timers
from els_stream.queries.batch_counts import fold

FOLD_SECONDS: Final = 30.0


async def fold_counts(timers: Timers) -> None:
    """The sum is the same folded or not; only reading it costs less."""

    async def step(conn: AsyncConnection) -> StepResult:
        await fold(conn)
        return StepResult(0, more=False)

    await timers.run(TimerName.FOLD_COUNTS, FOLD_SECONDS, step)
