"""Arrivals of registered batches: facts, decisions, writes, outbox rows. All under the tracker locks of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from els_stream.domain.allocation import Allocation
from els_stream.domain.batch import BatchBecameReady, Confirmation, Content, ContentBecameComplete, FailedUpload
from els_stream.failpoints import Failpoint, failpoint
from els_stream.handlers.outbox_events import EssayLists, outbox_rows
from els_stream.queries import associations, claims, excess_and_failures, outbox, slots, trackers
from els_stream.queries.slots import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import Payload
    from els_stream.domain.claim_strategy import Strategy
    from els_stream.domain.outcomes import Outcome
    from els_stream.queries.trackers import LockedBatches


async def apply_events(
    conn: AsyncConnection, batches: LockedBatches, arrivals: Sequence[tuple[str, Payload]], strategy: Strategy
) -> list[Outcome]:
    """Give each arrival, with its batch id, its fate, in order, and write what follows from it."""
    if not arrivals:
        return []
    inventories = {
        batch_id: Allocation(batches[batch_id], batches.now) for batch_id in sorted({b for b, _ in arrivals})
    }
    await _read_facts(conn, inventories, arrivals)
    outcomes = [inventories[batch_id].admit(payload) for batch_id, payload in arrivals]
    await write_changes(conn, [inventory for inventory in inventories.values() if inventory.changed], batches, strategy)
    return outcomes


async def _read_facts(
    conn: AsyncConnection, inventories: Mapping[str, Allocation], arrivals: Sequence[tuple[str, Payload]]
) -> None:
    """Tell the inventories what the rows say of the uploads, texts and essays at hand; only where they may say any."""
    uploads = [_upload(batch_id, payload) for batch_id, payload in arrivals if not isinstance(payload, Confirmation)]
    await _read_slots(conn, inventories, uploads)
    if failing := [_upload(b, payload) for b, payload in arrivals if isinstance(payload, FailedUpload)]:
        for batch_id, upload_id in await excess_and_failures.known_failures(conn, failing):
            inventories[batch_id].failed_uploads.add(upload_id)
    listed = {
        (batch_id, association.essay_id)
        for batch_id, payload in arrivals
        if isinstance(payload, Confirmation)
        for association in payload.event.associations
    }
    if listed:
        for (batch_id, essay_id), present in (await associations.read_current(conn, listed)).items():
            inventories[batch_id].students[essay_id] = present


async def _read_slots(conn: AsyncConnection, inventories: Mapping[str, Allocation], uploads: Sequence[Upload]) -> None:
    """A batch without a held slot has no holder to tell of, and one with a free slot no excess."""
    if held := [u for u in uploads if inventories[u.batch_id].batch.free < inventories[u.batch_id].batch.expected]:
        for batch_id, slot in await slots.holders(conn, held):
            inventories[batch_id].holds(slot)
    if full := [u for u in uploads if inventories[u.batch_id].batch.free == 0]:
        for excess in await excess_and_failures.known_excess(conn, full):
            inventories[excess.batch_id].was_excess(excess.text_id, excess.upload_id)


def _upload(batch_id: str, payload: Content | FailedUpload) -> Upload:
    text_id = payload.event.text_storage_id if isinstance(payload, Content) else None
    return Upload(batch_id, payload.event.file_upload_id, text_id)


async def write_changes(
    conn: AsyncConnection, changed: Sequence[Allocation], batches: LockedBatches, strategy: Strategy
) -> None:
    """The claim first: it names the essays that all the rest tells of."""
    now = batches.now
    if wanted := [claims.SlotClaim(i.batch, slot) for i in changed for slot in i.claims]:
        await claims.claim(conn, wanted, now, strategy)
        failpoint(Failpoint.AFTER_CLAIM)
    if taken := [(i.batch.batch_id, slot, content) for i in changed for slot, content in i.take_overs]:
        await slots.replace_failures(conn, taken, now)
    if excess := [(i.batch.batch_id, content) for i in changed for content in i.excess]:
        await excess_and_failures.add_excess(conn, excess, now)
    if failures := [(i.batch.batch_id, failure) for i in changed for failure in i.failures]:
        await excess_and_failures.add_failures(conn, failures, now)
    if changes := [(i.batch.batch_id, a) for i in changed for a in i.associations.values()]:
        await associations.associate(conn, changes, now)
    lists = await _lists(conn, changed)
    rows = [row for inventory in changed for row in outbox_rows(inventory, lists)]
    await trackers.save(conn, [inventory.batch for inventory in changed])
    if rows:
        await outbox.put(conn, rows)


async def _lists(conn: AsyncConnection, changed: Iterable[Allocation]) -> EssayLists:
    """The essays of the batches that became complete or ready, read after the claim."""
    ending = [
        i.batch for i in changed if any(isinstance(f, (ContentBecameComplete, BatchBecameReady)) for f in i.facts)
    ]
    filled = await slots.filled(conn, [b.batch_id for b in ending if b.filled]) if ending else {}
    with_failures = [b.batch_id for b in ending if b.failed]
    failed = await slots.failed(conn, with_failures) if with_failures else {}
    return EssayLists(filled, failed)
