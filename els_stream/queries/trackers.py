"""Tracker rows: inserted where missing, locked in order, and written back.

Lock order of every transaction: insert missing tracker rows, then lock tracker rows by batch id, then slots, then
stored offsets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from els_stream.domain.batch import Batch, BatchState, ClassType, OutboxPosition, Slot
from els_stream.domain.claim_strategy import SlotTable
from els_stream.queries import slots
from els_stream.queries.arrays import arrays
from els_stream.queries.packed_arrays import packed, text_with_packed_arrays, with_packed_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.inbound import BatchEssaysRegistered
    from els_stream.queries.slots import Upload

# The anti-join avoids speculative inserts of rows that exist. Two transactions that miss the same row still meet in
# ON CONFLICT, where the second waits for the first. Sorted: otherwise two such transactions could deadlock.
_ADD_MISSING = text("""
    INSERT INTO batch_essay_trackers (batch_id)
    SELECT i.batch_id FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    WHERE NOT EXISTS (SELECT FROM batch_essay_trackers t WHERE t.batch_id = i.batch_id)
    ORDER BY i.batch_id
    ON CONFLICT DO NOTHING
""")

# A separate statement, because its snapshot is taken before it waits: only later statements read what it waited for.
# It locks all rows or none, since a transaction that has locked some must not wait for the insert of another. The clock
# is read outside the locking subquery, so that `now` is the time after the wait.
#
# The holders of slots are read in the same snapshot. They are current if each locked row is the version that the
# snapshot sees: who changes the slots of a batch updates its tracker too. All of them come with the last row.
_LOCK = text_with_packed_arrays(
    """
    SELECT locked.*, clock_timestamp() AS now, held.*,
           locked.version = (SELECT t.xmin FROM batch_essay_trackers t WHERE t.batch_id = locked.batch_id) AS unchanged
    FROM (
        SELECT batch_id, state, class_type, inventory, expected_count, free_count, filled_count, failed_count,
               pending_count, next_sequence, course_code, user_id, class_id, correlation_id, student_prompt_ref,
               registration_digest, associations_confirmed_at, content_completed_at, completed_at, outbox_shard,
               outbox_position, xmin AS version
        FROM batch_essay_trackers
        WHERE batch_id = ANY(CAST(:locked_ids AS text[]))
          AND (SELECT count(*) FROM batch_essay_trackers there WHERE there.batch_id = ANY(CAST(:locked_ids AS text[])))
              = cardinality(CAST(:locked_ids AS text[]))
        ORDER BY batch_id
        FOR UPDATE
    ) locked
    LEFT JOIN (
        SELECT array_agg(i.batch_id) AS holder_batches, array_agg(h.file_upload_id) AS holder_uploads,
               array_agg(h.text_storage_id) AS holder_texts, array_agg(h.essay_id) AS holder_essays
        {holders}
    ) held ON locked.batch_id = :last
""".replace("{holders}", slots.FROM_HOLDERS)
)

_EXISTING = text("SELECT batch_id FROM batch_essay_trackers WHERE batch_id = ANY(CAST(:batch_ids AS text[]))")
_LOCK_EXISTING = text("""
    SELECT FROM batch_essay_trackers WHERE batch_id = ANY(CAST(:batch_ids AS text[])) ORDER BY batch_id FOR UPDATE
""")

# With `written`, a row (shard, position), batches that have `new_events` get it as their last segment.
_SAVED: Final = """
    UPDATE batch_essay_trackers t
    SET state = v.state, free_count = v.free, filled_count = v.filled, failed_count = v.failed,
        pending_count = v.pending, next_sequence = v.next_sequence,
        associations_confirmed_at = v.confirmed_at, content_completed_at = v.content_completed_at,
        completed_at = v.completed_at,
        outbox_shard = CASE WHEN v.new_events THEN written.shard ELSE v.outbox_shard END,
        outbox_position = CASE WHEN v.new_events THEN written.position ELSE v.outbox_position END
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:states AS text[]), CAST(:free AS int[]), CAST(:filled AS int[]),
                CAST(:failed AS int[]), CAST(:pending AS int[]), CAST(:next_sequences AS bigint[]),
                CAST(:confirmed_at AS timestamptz[]), CAST(:content_completed_at AS timestamptz[]),
                CAST(:completed_at AS timestamptz[]), CAST(:outbox_shards AS smallint[]),
                CAST(:outbox_positions AS bigint[]), CAST(:new_events AS boolean[]))
         AS v (batch_id, state, free, filled, failed, pending, next_sequence, confirmed_at, content_completed_at,
               completed_at, outbox_shard, outbox_position, new_events),
         {written}
    WHERE t.batch_id = v.batch_id
"""
SAVE_WITH_SEGMENT: Final = with_packed_arrays(_SAVED.replace("{written}", "written"))
_SAVE = text_with_packed_arrays(
    _SAVED.replace("{written}", "(SELECT CAST(NULL AS smallint) AS shard, CAST(NULL AS bigint) AS position) written")
)

_OPEN = text("""
    UPDATE batch_essay_trackers t
    SET state = 'open', inventory = v.inventory, class_type = v.class_type, expected_count = v.expected,
        free_count = v.expected, pending_count = 0, registration_digest = v.digest, course_code = v.course_code,
        user_id = v.user_id, org_id = v.org_id, class_id = v.class_id, correlation_id = v.correlation_id,
        student_prompt_ref = CAST(v.prompt_ref AS jsonb), registered_at = :now,
        deadline_at = CAST(:now AS timestamptz) + CAST(:deadline AS interval)
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:class_types AS text[]), CAST(:expected AS int[]),
                CAST(:digests AS bytea[]), CAST(:course_codes AS text[]), CAST(:user_ids AS text[]),
                CAST(:org_ids AS text[]), CAST(:class_ids AS text[]), CAST(:correlation_ids AS uuid[]),
                CAST(:prompt_refs AS text[]), CAST(:inventories AS text[]))
         AS v (batch_id, class_type, expected, digest, course_code, user_id, org_id, class_id, correlation_id,
               prompt_ref, inventory)
    WHERE t.batch_id = v.batch_id
""")

_ADD_ESSAYS = text("""
    INSERT INTO essay_states (batch_id, essay_id)
    SELECT i.batch_id, i.essay_id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[])) AS i (batch_id, essay_id)
""")

_ADD_SLOT_ASSIGNMENTS = text("""
    INSERT INTO slot_assignments (batch_id, essay_id)
    SELECT i.batch_id, i.essay_id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[])) AS i (batch_id, essay_id)
""")

_ADD_CONFLICTS = text("""
    UPDATE batch_essay_trackers t
    SET conflict_count = t.conflict_count + v.n
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:counts AS int[])) AS v (batch_id, n)
    WHERE t.batch_id = v.batch_id
""")


class LockedBatches(dict[str, Batch]):
    """The batches whose rows this transaction has locked, and the database's clock after the lock.

    `holders` are the slots, with their batch ids, that hold the uploads or texts which the lock was asked for; None if
    they have to be read, since a batch has changed while the lock waited for it.
    """

    now: datetime
    holders: Iterable[tuple[str, Slot]] | None = None


async def lock(
    conn: AsyncConnection, batch_ids: Collection[str], uploads: Collection[Upload] | None = None
) -> LockedBatches:
    """Lock the rows of these batches (at least one) in order; insert an `unregistered` row for an unknown batch.

    Waits up to `lock_timeout`. The caller must not have read anything about these batches before. With `uploads`, which
    belong to these batches, also read the slots that hold them, if that takes no further statement.
    """
    wanted = sorted(set(batch_ids))
    parameters = {"last": wanted[-1], **packed({"locked_ids": wanted, **slots.upload_arrays(uploads or ())})}
    rows = (await conn.execute(_LOCK, parameters)).all()
    # Again, if the deletion of old tombstones deleted a row between the two statements.
    while len(rows) < len(wanted):
        await conn.execute(_ADD_MISSING, {"batch_ids": wanted})
        rows = (await conn.execute(_LOCK, parameters)).all()
    locked = LockedBatches((row.batch_id, _batch(row)) for row in rows)
    locked.now = rows[-1].now
    if uploads is not None and all(row.unchanged for row in rows):
        locked.holders = _holders(rows[-1])
    return locked


async def existing(conn: AsyncConnection, batch_ids: Collection[str]) -> frozenset[str]:
    """Return those of these batches that have a row. Locks nothing."""
    return frozenset(await conn.scalars(_EXISTING, {"batch_ids": list(batch_ids)}))


async def lock_existing(conn: AsyncConnection, batch_ids: Collection[str]) -> None:
    """Lock the rows of those of these batches that have one, in order; unlike `lock`, create none."""
    await conn.execute(_LOCK_EXISTING, {"batch_ids": list(batch_ids)})


@dataclass(frozen=True, slots=True)
class Opening:
    """A batch to open, with its registration."""

    batch: Batch
    event: BatchEssaysRegistered


async def open_batches(conn: AsyncConnection, openings: Sequence[Opening], now: datetime, deadline: timedelta) -> None:
    """Open locked `unregistered` batches and insert their free slots."""
    params = {
        **arrays(openings, org_ids=lambda opening: opening.event.org_id),
        **arrays(
            [opening.batch for opening in openings],
            inventories=lambda b: b.slot_table,
            batch_ids=lambda b: b.batch_id,
            class_types=lambda b: b.class_type,
            expected=lambda b: b.expected,
            digests=lambda b: b.registration_digest,
            course_codes=lambda b: b.course_code,
            user_ids=lambda b: b.user_id,
            class_ids=lambda b: b.class_id,
            correlation_ids=lambda b: b.correlation_id,
            prompt_refs=lambda b: b.student_prompt_ref and json.dumps(b.student_prompt_ref),
        ),
    }
    await conn.execute(_OPEN, {"now": now, "deadline": deadline, **params})

    essays = [(o.batch, essay_id) for o in openings for essay_id in sorted(o.event.essay_ids)]
    await conn.execute(_ADD_ESSAYS, _essays(essays))
    if assigned := [(b, essay_id) for b, essay_id in essays if b.slot_table is SlotTable.SLOT_ASSIGNMENTS]:
        await conn.execute(_ADD_SLOT_ASSIGNMENTS, _essays(assigned))


async def add_conflicts(conn: AsyncConnection, conflicts: Mapping[str, int]) -> None:
    """Add numbers of refused registrations, by batch, to locked rows."""
    await conn.execute(_ADD_CONFLICTS, {"batch_ids": list(conflicts), "counts": list(conflicts.values())})


async def save(conn: AsyncConnection, batches: Sequence[Batch]) -> None:
    """Write back state, counters, times, next sequence and last segment of locked batches.

    Call it after `outbox.put`, which sets the last segment.
    """
    if not batches:
        return
    await conn.execute(_SAVE, packed(saved_arrays(batches)))


def saved_arrays(batches: Sequence[Batch], new_events: AbstractSet[str] = frozenset()) -> dict[str, list[str | None]]:
    """Return the arrays of a statement that saves these batches, to be packed."""
    last = [batch.last_segment for batch in batches]
    return {
        "batch_ids": [batch.batch_id for batch in batches],
        "states": [batch.state.value for batch in batches],
        "free": [str(batch.free) for batch in batches],
        "filled": [str(batch.filled) for batch in batches],
        "failed": [str(batch.failed) for batch in batches],
        "pending": [str(batch.pending) for batch in batches],
        "next_sequences": [str(batch.next_sequence) for batch in batches],
        "confirmed_at": [_time(batch.associations_confirmed_at) for batch in batches],
        "content_completed_at": [_time(batch.content_completed_at) for batch in batches],
        "completed_at": [_time(batch.completed_at) for batch in batches],
        "outbox_shards": [None if one is None else str(one.shard) for one in last],
        "outbox_positions": [None if one is None else str(one.position) for one in last],
        "new_events": ["t" if batch.batch_id in new_events else "f" for batch in batches],
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _holders(row: Row[Any]) -> Iterable[tuple[str, Slot]]:
    """Return the holders that came with a row, each once: one may hold the upload and the text."""
    found = zip(
        row.holder_batches or (), row.holder_uploads or (), row.holder_texts or (), row.holder_essays or (), strict=True
    )
    return [(batch_id, Slot(upload, text_id, essay)) for batch_id, upload, text_id, essay in dict.fromkeys(found)]


def _essays(essays: Sequence[tuple[Batch, str]]) -> dict[str, list[object]]:
    return arrays(essays, batch_ids=lambda slot: slot[0].batch_id, essay_ids=lambda slot: slot[1])


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        batch_id=row.batch_id,
        state=BatchState(row.state),
        class_type=ClassType(row.class_type) if row.class_type else None,
        slot_table=SlotTable(row.inventory) if row.inventory else None,
        expected=row.expected_count or 0,
        free=row.free_count,
        filled=row.filled_count,
        failed=row.failed_count,
        pending=row.pending_count,
        next_sequence=row.next_sequence,
        course_code=row.course_code,
        user_id=row.user_id,
        class_id=row.class_id,
        correlation_id=row.correlation_id,
        student_prompt_ref=row.student_prompt_ref,
        registration_digest=row.registration_digest,
        associations_confirmed_at=row.associations_confirmed_at,
        content_completed_at=row.content_completed_at,
        completed_at=row.completed_at,
        last_segment=None if row.outbox_shard is None else OutboxPosition(row.outbox_shard, row.outbox_position),
    )
