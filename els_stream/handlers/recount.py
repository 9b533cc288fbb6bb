"""Recounts of batches whose counters disagree with their rows. Under the tracker lock, the rows decide."""

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
    from els_stream.domain.consistency import BatchConsistency
    from els_stream.queries.trackers import LockedBatches

log = logging.getLogger(__name__)


class RepairKind(StrEnum):
    """The kinds of repairs. `UNREPAIRABLE` counts inconsistent batches that are left as they are."""

    SLOTS_RECOUNTED = "slots_recounted"
    PENDING_APPLIED = "pending_applied"
    PENDING_RECOUNTED = "pending_recounted"
    EMPTY_BATCH_REMOVED = "empty_batch_removed"
    UNREPAIRABLE = "unrepairable"


class RepairCounts:
    """Counts of repairs, for the metrics of this worker. Each is logged as an error."""

    def __init__(self) -> None:
        self._counts: Counter[RepairKind] = Counter()

    def add(self, kind: RepairKind, found: BatchConsistency) -> None:
        self._counts[kind] += 1
        log.error("batch %r, %s: %s; %s", found.batch_id, found.state, kind, found)

    def counts(self) -> Mapping[RepairKind, int]:
        return {kind: self._counts[kind] for kind in RepairKind}


class PendingRecounts:
    """Batches to recount at the next attempt, since their counters promised slots that no row had.

    It is a hint in memory only: the rows decide, under the lock.
    """

    def __init__(self, repairs: RepairCounts) -> None:
        self._repairs = repairs
        self._batch_ids: set[str] = set()

    def add(self, batch_ids: Collection[str]) -> None:
        self._batch_ids.update(batch_ids)

    async def run(self, conn: AsyncConnection, batches: LockedBatches, strategy: Strategy) -> None:
        """Recount those of the locked batches that are due; each stays due until its counters are found right."""
        due = sorted(self._batch_ids.intersection(batches))
        for found in await consistency.for_batches(conn, due) if due else ():
            if found.miscounted:
                await recount(conn, batches, found, strategy, self._repairs)
            else:
                self._batch_ids.discard(found.batch_id)


async def recount(
    conn: AsyncConnection,
    batches: LockedBatches,
    found: BatchConsistency,
    strategy: Strategy,
    repairs: RepairCounts,
) -> int:
    """Set the counters of a locked batch to its rows and publish what follows. Return 0 where that is impossible."""
    if not found.recountable:
        repairs.add(RepairKind.UNREPAIRABLE, found)
        return 0
    repairs.add(RepairKind.SLOTS_RECOUNTED, found)
    allocation = Allocation(batches[found.batch_id], batches.now)
    allocation.recount(found.rows.free, found.rows.filled, found.rows.failed)
    await write_changes(conn, [allocation], batches, strategy)
    return 1
