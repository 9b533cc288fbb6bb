"""What no step of ours leaves, and a bug might: parked events without use, counters that lie."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.maintenance.scheduler import StepResult, TimerName, Timers


async def heal_batches(timers: Timers) -> None:
    """A slow walk over all trackers. Each heal is told loudly; what can't be healed is told at each walk."""
    sweep = timers.policy.sweep

    async def step(conn: AsyncConnection) -> StepResult:
        swept = await sweep.step(conn)
        return StepResult(swept.healed, more=swept.more)

    await timers.run(TimerName.HEAL_BATCHES, timers.policy.sweep_seconds, step)
