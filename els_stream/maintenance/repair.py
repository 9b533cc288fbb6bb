"""What bugs and foreign code may leave behind, set right under the tracker lock: each heal is counted and told loudly.

Counters are made to say what the rows say, never the other way round; what is parked gets its fate, in order of
arrival. What can't be healed without untelling an event or inventing a slot is told, and left to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from els_stream.domain.batch import BatchState
from els_stream.domain.outcomes import Refused
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.handlers.recount import RepairKind, recount
from els_stream.handlers.registration import apply_pending
from els_stream.queries import consistency, expiry, pending_events, trackers

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.claim_strategy import Strategy
    from els_stream.handlers.recount import RepairCounts
    from els_stream.queries.consistency import BatchConsistency
    from els_stream.queries.trackers import LockedBatches

STRETCH: Final = 1000


@dataclass(frozen=True, slots=True)
class ScanResult:
    """`more`: the walk is not at its end."""

    healed: int
    more: bool


class RepairScan:
    """A walk over all trackers by batch id, which begins anew at its end. Where it stands is no truth, only a place."""

    def __init__(self, strategy: Strategy, heals: RepairCounts, stretch: int = STRETCH) -> None:
        self._strategy = strategy
        self._heals = heals
        self._stretch = stretch
        self._after = ""

    async def step(self, conn: AsyncConnection) -> ScanResult:
        """Look at one stretch; heal the first batch that is ill, and go on behind it, also if that fails."""
        looks = await consistency.stretch(conn, self._after, self._stretch)
        ill = next((look for look in looks if look.ill), None)
        last = ill or (looks[-1] if len(looks) == self._stretch else None)
        self._after = last.batch_id if last else ""
        healed = await heal(conn, ill.batch_id, self._strategy, self._heals) if ill else 0
        return ScanResult(healed, more=last is not None)


async def heal(conn: AsyncConnection, batch_id: str, strategy: Strategy, heals: RepairCounts) -> int:
    """Look again under the lock, and set right what is still wrong; returns how much was."""
    batches = await trackers.lock(conn, [batch_id])
    (look,) = await consistency.these(conn, [batch_id])
    if not look.ill:
        return 0
    if look.state is BatchState.UNREGISTERED:
        await _heal_unregistered(conn, batches, look, heals)
        return 1
    healed = 0
    if look.miscounted:
        healed += await recount(conn, batches, look, strategy, heals)
    if look.parked:
        heals.note(RepairKind.PARKED_USED, look)
        await _use(conn, batches, look, strategy)
        healed += 1
    return healed


async def _heal_unregistered(
    conn: AsyncConnection, batches: LockedBatches, look: BatchConsistency, heals: RepairCounts
) -> None:
    heals.note(RepairKind.PARKED_RECOUNTED if look.parked else RepairKind.EMPTY_REMOVED, look)
    batch = batches[look.batch_id]
    batch.parked = look.parked
    await trackers.save(conn, [batch])
    await expiry.remove_empty(conn, [look.batch_id])


async def _use(conn: AsyncConnection, batches: LockedBatches, look: BatchConsistency, strategy: Strategy) -> None:
    if look.state is not BatchState.PURGED:
        await apply_pending(conn, batches, [look.batch_id], strategy)
        return
    refusal = Refused(DeadLetterReason.BATCH_PURGED, "the batch was purged")
    parked = await pending_events.drain(conn, [look.batch_id])
    await write_dead_letters(conn, [DeadLetterRequest(event.record, event.batch_id, refusal) for event in parked])
