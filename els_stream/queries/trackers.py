"""The tracker rows: made where missing, locked in order, and written back.

Lock order of every transaction: missing tracker rows first, then tracker rows by batch id, then slots, then the ledger.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from els_stream.domain.batch import Batch, BatchState, ClassType
from els_stream.domain.claim_strategy import SlotTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.inbound import BatchEssaysRegistered

# The anti-join spares the rows that exist a speculative insert; two transactions that miss the same row still meet in
# ON CONFLICT, where the second waits for the first. Sorted, or two such transactions could deadlock.
_ADD_MISSING = text("""
    INSERT INTO batch_essay_trackers (batch_id)
    SELECT i.batch_id FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    WHERE NOT EXISTS (SELECT FROM batch_essay_trackers t WHERE t.batch_id = i.batch_id)
    ORDER BY i.batch_id
    ON CONFLICT DO NOTHING
""")

# A statement of its own: its snapshot is taken before it waits, so facts are read by later statements only. All rows or
# none: who holds some of them must not wait for another's insert. The clock is read outside of what locks: the time of
# a row is that after the wait for it.
_LOCK = text("""
    SELECT locked.*, clock_timestamp() AS now
    FROM (
        SELECT batch_id, state, class_type, inventory, expected_count, free_count, filled_count, failed_count,
               pending_count, next_sequence, course_code, user_id, class_id, correlation_id, student_prompt_ref,
               registration_digest, associations_confirmed_at, content_completed_at, completed_at
        FROM batch_essay_trackers
        WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
          AND (SELECT count(*) FROM batch_essay_trackers there WHERE there.batch_id = ANY(CAST(:batch_ids AS text[])))
              = cardinality(CAST(:batch_ids AS text[]))
        ORDER BY batch_id
        FOR UPDATE
    ) locked
""")

_LOCK_EXISTING = text("SELECT FROM batch_essay_trackers WHERE batch_id = :batch_id FOR UPDATE")

_SAVE = text("""
    UPDATE batch_essay_trackers t
    SET state = v.state, free_count = v.free, filled_count = v.filled, failed_count = v.failed,
        pending_count = v.parked, next_sequence = v.next_sequence,
        associations_confirmed_at = v.confirmed_at, content_completed_at = v.content_completed_at,
        completed_at = v.completed_at
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:states AS text[]), CAST(:free AS int[]), CAST(:filled AS int[]),
                CAST(:failed AS int[]), CAST(:parked AS int[]), CAST(:next_sequences AS bigint[]),
                CAST(:confirmed_at AS timestamptz[]), CAST(:content_completed_at AS timestamptz[]),
                CAST(:completed_at AS timestamptz[]))
         AS v (batch_id, state, free, filled, failed, parked, next_sequence, confirmed_at, content_completed_at,
               completed_at)
    WHERE t.batch_id = v.batch_id
""")

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

_FLAG_CONFLICTS = text("""
    UPDATE batch_essay_trackers t
    SET conflict_count = t.conflict_count + v.n
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:counts AS int[])) AS v (batch_id, n)
    WHERE t.batch_id = v.batch_id
""")


class LockedBatches(dict[str, Batch]):
    """The batches whose rows this transaction has locked, and the database's time at that."""

    now: datetime


async def lock(conn: AsyncConnection, batch_ids: Collection[str]) -> LockedBatches:
    """Lock the rows of these batches, at least one, in order; an unknown batch gets an `unregistered` row first.

    Waits as long as `lock_timeout`. Read nothing about these batches before.
    """
    wanted = sorted(set(batch_ids))
    rows = (await conn.execute(_LOCK, {"batch_ids": wanted})).all()
    # A row that a purge of tombstones removed between the two statements is made anew.
    while len(rows) < len(wanted):
        await conn.execute(_ADD_MISSING, {"batch_ids": wanted})
        rows = (await conn.execute(_LOCK, {"batch_ids": wanted})).all()
    locked = LockedBatches((row.batch_id, _batch(row)) for row in rows)
    locked.now = rows[-1].now
    return locked


async def lock_existing(conn: AsyncConnection, batch_id: str) -> None:
    """Lock the row of this batch if there is one; unlike `lock`, create none."""
    await conn.execute(_LOCK_EXISTING, {"batch_id": batch_id})


@dataclass(frozen=True, slots=True)
class Opening:
    """A batch to open, with what its registration said that the tracker keeps."""

    batch: Batch
    event: BatchEssaysRegistered
    digest: bytes


async def open_batches(conn: AsyncConnection, openings: Sequence[Opening], now: datetime, deadline: timedelta) -> None:
    """Turn locked `unregistered` rows `open` and add their slots, all free, to their inventories."""
    batches = [opening.batch for opening in openings]
    await conn.execute(
        _OPEN,
        {
            "inventories": [b.inventory for b in batches],
            "now": now,
            "deadline": deadline,
            "batch_ids": [b.batch_id for b in batches],
            "class_types": [b.class_type for b in batches],
            "expected": [b.expected for b in batches],
            "digests": [opening.digest for opening in openings],
            "course_codes": [b.course_code for b in batches],
            "user_ids": [b.user_id for b in batches],
            "org_ids": [opening.event.org_id for opening in openings],
            "class_ids": [b.class_id for b in batches],
            "correlation_ids": [b.correlation_id for b in batches],
            "prompt_refs": [b.student_prompt_ref and json.dumps(b.student_prompt_ref) for b in batches],
        },
    )

    slots = [(o.batch, essay_id) for o in openings for essay_id in sorted(o.event.essay_ids)]
    await conn.execute(_ADD_ESSAYS, _essays(slots))
    if assigned := [(b, essay_id) for b, essay_id in slots if b.inventory is SlotTable.SLOT_ASSIGNMENTS]:
        await conn.execute(_ADD_SLOT_ASSIGNMENTS, _essays(assigned))


async def flag_conflicts(conn: AsyncConnection, conflicts: Mapping[str, int]) -> None:
    """Count refused registrations on locked rows, for the batch's story."""
    await conn.execute(_FLAG_CONFLICTS, {"batch_ids": list(conflicts), "counts": list(conflicts.values())})


async def save(conn: AsyncConnection, batches: Sequence[Batch]) -> None:
    """Write state, counts, times and the next sequence of locked batches back."""
    if not batches:
        return
    await conn.execute(
        _SAVE,
        {
            "batch_ids": [b.batch_id for b in batches],
            "states": [b.state.value for b in batches],
            "free": [b.free for b in batches],
            "filled": [b.filled for b in batches],
            "failed": [b.failed for b in batches],
            "parked": [b.parked for b in batches],
            "next_sequences": [b.next_sequence for b in batches],
            "confirmed_at": [b.associations_confirmed_at for b in batches],
            "content_completed_at": [b.content_completed_at for b in batches],
            "completed_at": [b.completed_at for b in batches],
        },
    )


def _essays(slots: Sequence[tuple[Batch, str]]) -> dict[str, list[str]]:
    return {"batch_ids": [b.batch_id for b, _ in slots], "essay_ids": [essay_id for _, essay_id in slots]}


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        batch_id=row.batch_id,
        state=BatchState(row.state),
        class_type=ClassType(row.class_type) if row.class_type else None,
        inventory=SlotTable(row.inventory) if row.inventory else None,
        expected=row.expected_count or 0,
        free=row.free_count,
        filled=row.filled_count,
        failed=row.failed_count,
        parked=row.pending_count,
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
    )
