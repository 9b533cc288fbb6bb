"""Events whose batch did not register in time."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.expiry import give_up_parked as give_up
from els_stream.maintenance.scheduler import TimerName, Timers, bounded


async def give_up_parked(timers: Timers) -> None:
    """Dead letters, to be replayed. What fails is tried again at the next round."""
    step = bounded(partial(give_up, policy=timers.policy.expiry))
    await timers.run(TimerName.GIVE_UP_PARKED, timers.policy.expiry_seconds, step)
