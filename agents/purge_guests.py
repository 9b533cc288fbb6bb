"""Timer: purge of GUEST batches after their retention, and deletion of old tombstones."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.purge import apply_retention
from els_stream.maintenance.scheduler import TimerName, Timers


async def purge_guests(timers: Timers) -> None:
    """Run the purge of `els purge` when the purge log says that it is due."""
    act = partial(apply_retention, retention=timers.policy.retention)
    await timers.run_whole(TimerName.PURGE_GUESTS, timers.policy.retention_seconds, act)
