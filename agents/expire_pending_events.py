"""Timer: dead letters of pending events whose batch did not register in time."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.expiry import REGISTRATION_TOPICS, expire_pending
from els_stream.maintenance.scheduler import TimerName, Timers, TimerStep, bounded


async def expire_pending_events(timers: Timers) -> None:
    """Turn expired pending events into dead letters, which can be replayed once the batch is registered."""
    policy = timers.policy.expiry

    async def prepare() -> TimerStep:
        partitions = await policy.partitions_of(REGISTRATION_TOPICS)
        return bounded(partial(expire_pending, policy=policy, partitions=partitions))

    await timers.run_prepared(TimerName.EXPIRE_PENDING_EVENTS, timers.policy.expiry_seconds, prepare)
