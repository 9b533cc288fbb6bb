"""Timer: deletion of dead letters after their retention, since they contain student data."""

from __future__ import annotations

from functools import partial
from typing import Final

from els_stream.maintenance.scheduler import TimerName, Timers, bounded
from els_stream.queries.dead_letter_admin import delete_old

RECORDS_PER_STEP: Final = 500


async def delete_old_dead_letters(timers: Timers) -> None:
    """Delete dead letters in any state once they are older than their retention."""
    act = partial(delete_old, retention=timers.policy.dead_letter_retention, limit=RECORDS_PER_STEP)
    await timers.run(TimerName.DELETE_OLD_DEAD_LETTERS, timers.policy.repair_seconds, bounded(act))
