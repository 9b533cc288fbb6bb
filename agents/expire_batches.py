"""Timer: time-outs of batches whose deadline passed with free slots."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.expiry import SLOT_TOPICS, time_out_batches
from els_stream.maintenance.scheduler import TimerName, Timers, TimerStep, bounded


async def expire_batches(timers: Timers) -> None:
    """Publish one event per overdue batch, judged only up to what was processed of the broker's partitions."""
    policy = timers.policy.expiry

    async def prepare() -> TimerStep:
        return bounded(partial(time_out_batches, policy=policy, partitions=await policy.partitions_of(SLOT_TOPICS)))

    await timers.run_prepared(TimerName.EXPIRE_BATCHES, timers.policy.expiry_seconds, prepare)
