"""Dead letters that were kept for long enough: they hold student data."""

from __future__ import annotations

from functools import partial

from els_stream.maintenance.scheduler import TimerName, Timers, bounded
from els_stream.queries.dead_letter_admin import delete_old

RECORDS_AT_ONCE = 500


async def forget_dead_letters(timers: Timers) -> None:
    """Whatever their state. What fails is tried again at the next round."""
    act = partial(delete_old, retention=timers.policy.dead_letter_retention, limit=RECORDS_AT_ONCE)
    await timers.run(TimerName.FORGET_DEAD_LETTERS, timers.policy.sweep_seconds, bounded(act))
