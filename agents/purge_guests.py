"""Finished GUEST batches whose retention is over."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.purge import apply_retention
from els_stream.maintenance.scheduler import TimerName, Timers


async def purge_guests(timers: Timers) -> None:
    """The function of `els purge`, when its log says that it is due. What fails is tried again at the next round."""
    act = partial(apply_retention, retention=timers.policy.retention)
    await timers.run_whole(TimerName.PURGE_GUESTS, timers.policy.retention_seconds, act)
