"""Repair of batches that a bug or foreign code left inconsistent, under the tracker lock; each repair is logged.

Counters are set to what the rows say, never the other way round; leftover pending events are applied in order of
arrival. A batch that could only be repaired by taking back a published event or by inventing a slot is logged as
unrepairable and left to an operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from els_stream.domain.batch import BatchState
from els_stream.handlers.recount import RepairKind, recount
from els_stream.handlers.registration import apply_pending
from els_stream.queries import consistency, expiry, trackers

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.claim_strategy import Strategy
    from els_stream.domain.consistency import BatchConsistency
    from els_stream.handlers.recount import RepairCounts
    from els_stream.queries.trackers import LockedBatches

CHUNK_SIZE: Final = 1000


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The number of repairs, and whether the scan has more batches to check."""

    repaired: int
    more: bool


class RepairScan:
    """A scan over all trackers by batch id, again and again.

    The cursor is kept in memory; a restart begins again.
    """

    def __init__(self, strategy: Strategy, repairs: RepairCounts, chunk_size: int = CHUNK_SIZE) -> None:
        self._strategy = strategy
        self._repairs = repairs
        self._chunk_size = chunk_size
        self._after = ""

    async def step(self, conn: AsyncConnection) -> ScanResult:
        """Check one chunk and repair its first inconsistent batch; the next step goes on after it, even on an error."""
        checks = await consistency.next_chunk(conn, self._after, self._chunk_size)
        inconsistent = next((check for check in checks if check.inconsistent), None)
        last = inconsistent or (checks[-1] if len(checks) == self._chunk_size else None)
        self._after = last.batch_id if last else ""
        repaired = await repair(conn, inconsistent.batch_id, self._strategy, self._repairs) if inconsistent else 0
        return ScanResult(repaired, more=last is not None)


async def repair(conn: AsyncConnection, batch_id: str, strategy: Strategy, repairs: RepairCounts) -> int:
    """Lock a batch, check it again and repair what is still inconsistent; return the number of repairs."""
    batches = await trackers.lock(conn, [batch_id])
    (check,) = await consistency.for_batches(conn, [batch_id])
    if not check.inconsistent:
        return 0
    if check.state is BatchState.UNREGISTERED:
        await _repair_unregistered(conn, batches, check, repairs)
        return 1
    repaired = 0
    if check.miscounted:
        repaired += await recount(conn, batches, check, strategy, repairs)
    if check.pending:
        repairs.add(RepairKind.PENDING_APPLIED, check)
        await apply_pending(conn, batches, [batch_id], strategy)
        repaired += 1
    return repaired


async def _repair_unregistered(
    conn: AsyncConnection, batches: LockedBatches, check: BatchConsistency, repairs: RepairCounts
) -> None:
    repairs.add(RepairKind.PENDING_RECOUNTED if check.pending else RepairKind.EMPTY_BATCH_REMOVED, check)
    batch = batches[check.batch_id]
    batch.pending = check.pending
    await trackers.save(conn, [batch])
    await expiry.delete_empty(conn, [check.batch_id])
