"""Counters of a batch that disagree with its rows: the rows are right, under the tracker lock."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from els_stream.domain.allocation import Allocation
from els_stream.handlers.assignment import write_changes
from els_stream.queries import consistency

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.claim_strategy import Strategy
    from els_stream.queries.consistency import BatchConsistency
    from els_stream.queries.trackers import LockedBatches

log = logging.getLogger(__name__)


class RepairKind(StrEnum):
    """What was found ill, and, but for the last, set right."""

    SLOTS_RECOUNTED = "slots_recounted"
    PENDING_APPLIED = "pending_applied"
    PENDING_RECOUNTED = "pending_recounted"
    EMPTY_BATCH_REMOVED = "empty_batch_removed"
    UNREPAIRABLE = "unrepairable"


class RepairCounts:
    """Counts for the metrics of this worker."""

    def __init__(self) -> None:
        self._counts: Counter[RepairKind] = Counter()

    def note(self, heal: RepairKind, look: BatchConsistency) -> None:
        self._counts[heal] += 1
        log.error("batch %r, %s: %s; %s", look.batch_id, look.state, heal, look)

    def counts(self) -> Mapping[RepairKind, int]:
        return {heal: self._counts[heal] for heal in RepairKind}


class PendingRecounts:
    """Batches whose counters promised slots that no row had. A hint only: the rows are asked, under the lock."""

    def __init__(self, heals: RepairCounts) -> None:
        self._heals = heals
        self._batch_ids: set[str] = set()

    def note(self, batch_ids: Collection[str]) -> None:
        self._batch_ids.update(batch_ids)

    async def resolve(self, conn: AsyncConnection, batches: LockedBatches, strategy: Strategy) -> None:
        """Recount those of the locked batches that are in doubt; the doubt stays until their counters are true."""
        doubtful = sorted(self._batch_ids.intersection(batches))
        for look in await consistency.for_batches(conn, doubtful) if doubtful else ():
            if look.miscounted:
                await recount(conn, batches, look, strategy, self._heals)
            else:
                self._batch_ids.discard(look.batch_id)


async def recount(
    conn: AsyncConnection, batches: LockedBatches, look: BatchConsistency, strategy: Strategy, heals: RepairCounts
) -> int:
    """Make the counters of a locked batch true, and tell what follows; 0 where that is beyond healing."""
    if not look.recountable:
        heals.note(RepairKind.UNREPAIRABLE, look)
        return 0
    heals.note(RepairKind.SLOTS_RECOUNTED, look)
    inventory = Allocation(batches[look.batch_id], batches.now)
    inventory.recount(look.rows.free, look.rows.filled, look.rows.failed)
    await write_changes(conn, [inventory], batches, strategy)
    return 1
