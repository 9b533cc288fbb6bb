"""Timer: repair of batches whose counters or pending events are inconsistent with their rows."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.maintenance.repair import RepairScan
from els_stream.maintenance.scheduler import StepResult, TimerName, Timers


async def repair_batches(timers: Timers) -> None:
    """Scan all trackers slowly; log every repair, and every unrepairable batch in each scan."""
    scan = RepairScan(timers.policy.strategy, timers.policy.repairs)

    async def step(conn: AsyncConnection) -> StepResult:
        result = await scan.step(conn)
        return StepResult(result.repaired, more=result.more)

    await timers.run(TimerName.REPAIR_BATCHES, timers.policy.repair_seconds, step)
