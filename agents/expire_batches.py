"""Deadlines that passed with slots still empty."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.expiry import time_out_batches
from els_stream.maintenance.scheduler import TimerName, Timers, bounded


async def expire_batches(timers: Timers) -> None:
    """One event per batch, only as far as the input was handled. What fails is tried again at the next round."""
    step = bounded(partial(time_out_batches, policy=timers.policy.expiry))
    await timers.run(TimerName.EXPIRE_BATCHES, timers.policy.expiry_seconds, step)
