"""What the timer keeps to: purges when they are due, and tombstones that go after their own time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from els_stream.domain.purge_results import Purged
from els_stream.maintenance.purge import PurgePlan, purge_guests
from els_stream.queries.purge import drop_tombstones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """See the settings of the same names. `abandoned_days` of 0 means never."""

    enabled: bool
    guest_days: int
    abandoned_days: int
    tombstone_days: int
    every: timedelta
    chunk: int
    pause_seconds: float

    def plans(self) -> Iterator[PurgePlan]:
        yield PurgePlan(self.guest_days, self.chunk, self.pause_seconds, every=self.every)
        if self.abandoned_days:
            yield PurgePlan(self.abandoned_days, self.chunk, self.pause_seconds, abandoned=True, every=self.every)


async def keep_retention(engine: AsyncEngine, retention: Retention) -> int:
    """Purge what is due and drop tombstones that are old enough; how many batches were purged.

    Until cancelled: what is open then is rolled back, and whoever looks next goes on.
    """
    if not retention.enabled:
        return 0
    batches = 0
    for plan in retention.plans():
        result = await purge_guests(engine, plan, stop=asyncio.Event(), progress=lambda _: None)
        if isinstance(result, Purged):
            batches += result.removed.batches
    dropped = retention.chunk
    while dropped == retention.chunk:
        async with engine.begin() as conn:
            dropped = await drop_tombstones(conn, timedelta(days=retention.tombstone_days), retention.chunk)
    return batches
