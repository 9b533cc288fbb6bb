"""Events of locked batches: read the facts, apply the rules, write the changes and the outbox events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from els_stream.domain.allocation import Allocation
from els_stream.domain.batch import BatchBecameReady, BatchState, Confirmation, ContentBecameComplete, FailedUpload
from els_stream.failpoints import Failpoint, failpoint
from els_stream.handlers.outbox_events import EssayLists, outbox_rows
from els_stream.queries import associations, claims, excess_and_failures, outbox, pending_events, slots
from els_stream.queries.pending_events import PendingEvent
from els_stream.queries.slots import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import BatchEvent, Slot
    from els_stream.domain.claim_strategy import Strategy
    from els_stream.domain.outcomes import Outcome
    from els_stream.queries.trackers import LockedBatches


async def apply_events(
    conn: AsyncConnection,
    batches: LockedBatches,
    events: Sequence[BatchEvent],
    strategy: Strategy,
    max_pending: int = 0,
) -> list[Outcome]:
    """Apply the events in order, write what follows, and return one outcome for each.

    `max_pending` bounds the pending events of a batch; callers whose batches are all registered need none.
    """
    if not events:
        return []
    allocations = {
        batch_id: Allocation(batches[batch_id], batches.now, max_pending)
        for batch_id in sorted({event.event.batch_id for event in events})
    }
    await _read_facts(conn, allocations, events, batches.holders)
    outcomes = [allocations[event.event.batch_id].apply(event) for event in events]
    changed = [allocation for allocation in allocations.values() if allocation.changed]
    await write_changes(conn, changed, batches, strategy)
    return outcomes


def uploads_of(events: Iterable[BatchEvent]) -> list[Upload]:
    """Return the uploads of contents and failures."""
    return [
        Upload(event.event.batch_id, event.event.file_upload_id, event.text_id)
        for event in events
        if not isinstance(event, Confirmation)
    ]


async def _read_facts(
    conn: AsyncConnection,
    allocations: Mapping[str, Allocation],
    events: Sequence[BatchEvent],
    holders: Iterable[tuple[str, Slot]] | None,
) -> None:
    """Read what is stored of these events; `holders` are those of their slots if they were read already."""
    if all(allocation.batch.registered for allocation in allocations.values()):
        await _read_registered(conn, allocations, events, holders)
        return
    batches = {batch_id: allocation.batch for batch_id, allocation in allocations.items()}
    unregistered = [event for event in events if batches[event.event.batch_id].state is BatchState.UNREGISTERED]
    if unregistered:
        for row in await pending_events.existing(conn, [_pending(event) for event in unregistered]):
            allocations[row.batch_id].pending_texts[row.key] = row.text_id
    registered = [event for event in events if batches[event.event.batch_id].registered]
    await _read_registered(conn, allocations, registered, holders)


async def _read_registered(
    conn: AsyncConnection,
    allocations: Mapping[str, Allocation],
    events: Sequence[BatchEvent],
    holders: Iterable[tuple[str, Slot]] | None,
) -> None:
    """Read what is stored of the uploads, texts and essays of these events, with no query that can find nothing."""
    await _read_slots(conn, allocations, events, holders)
    failed = [Upload(e.event.batch_id, e.event.file_upload_id, None) for e in events if isinstance(e, FailedUpload)]
    if failed:
        for batch_id, upload_id in await excess_and_failures.known_failures(conn, failed):
            allocations[batch_id].failed_uploads.add(upload_id)
    listed = {
        (event.event.batch_id, association.essay_id)
        for event in events
        if isinstance(event, Confirmation)
        for association in event.event.associations
    }
    if listed:
        for (batch_id, essay_id), current in (await associations.read_current(conn, listed)).items():
            allocations[batch_id].current_associations[essay_id] = current


async def _read_slots(
    conn: AsyncConnection,
    allocations: Mapping[str, Allocation],
    events: Sequence[BatchEvent],
    holders: Iterable[tuple[str, Slot]] | None,
) -> None:
    """Read holders where a slot is taken, unless they are known, and excess contents where no slot is free."""
    batches = [allocation.batch for allocation in allocations.values()]
    if holders is None:
        taken = {batch.batch_id for batch in batches if batch.free < batch.expected}
        uploads = [upload for upload in uploads_of(events) if upload.batch_id in taken]
        holders = await slots.holders(conn, uploads) if uploads else ()
    for batch_id, slot in holders:
        allocations[batch_id].add_holder(slot)
    without_free = {batch.batch_id for batch in batches if batch.free == 0}
    if without_free and (full := [upload for upload in uploads_of(events) if upload.batch_id in without_free]):
        for excess in await excess_and_failures.known_excess(conn, full):
            allocations[excess.batch_id].add_excess(excess.text_id, excess.upload_id)


async def write_changes(
    conn: AsyncConnection, changed: Sequence[Allocation], batches: LockedBatches, strategy: Strategy
) -> None:
    """Write the new facts of these batches, their counters and their outbox events.

    The claim comes first: it sets the essay ids that all the rest contains.
    """
    now = batches.now
    if wanted := [claims.SlotClaim(a.batch, slot) for a in changed for slot in a.claims]:
        await claims.claim(conn, wanted, now, strategy)
        failpoint(Failpoint.AFTER_CLAIM)
    if taken := [(a.batch.batch_id, slot, content) for a in changed for slot, content in a.take_overs]:
        await slots.replace_failures(conn, taken, now)
    if excess := [(a.batch.batch_id, content) for a in changed for content in a.excess]:
        await excess_and_failures.add_excess(conn, excess, now)
    if failures := [(a.batch.batch_id, failure) for a in changed for failure in a.failures]:
        await excess_and_failures.add_failures(conn, failures, now)
    if students := [(a.batch.batch_id, association) for a in changed for association in a.associations.values()]:
        await associations.associate(conn, students, now)
    if pending := [_pending(event) for a in changed for event in a.pending]:
        await pending_events.add(conn, pending)
        failpoint(Failpoint.AFTER_PENDING_INSERT)
    lists = await _read_lists(conn, changed)
    rows = [row for allocation in changed for row in outbox_rows(allocation, lists)]
    await outbox.put(conn, rows, batches, [allocation.batch for allocation in changed])


async def _read_lists(conn: AsyncConnection, changed: Iterable[Allocation]) -> EssayLists:
    """Read the essays of the batches that became complete or ready, after the claim."""
    ending = [
        a.batch for a in changed if any(isinstance(f, (ContentBecameComplete, BatchBecameReady)) for f in a.facts)
    ]
    filled = await slots.filled(conn, [b.batch_id for b in ending if b.filled]) if ending else {}
    with_failures = [b.batch_id for b in ending if b.failed]
    failed = await slots.failed(conn, with_failures) if with_failures else {}
    return EssayLists(filled, failed)


def _pending(event: BatchEvent) -> PendingEvent:
    return PendingEvent(event.event.batch_id, event.pending_key, event.source.record)
