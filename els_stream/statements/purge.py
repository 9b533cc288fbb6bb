"""What a purge removes: every row of a batch but its tombstone, under its tracker lock, and a record of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.decisions.purging import Removed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_KEY: Final = 0x656C7375  # "elsu", one key for every purge of whatever process

_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")

# SKIP LOCKED: a batch that is at work just now is left for the next time. Age is by the database's clock.
_LOCK_OLD = text("""
    SELECT batch_id FROM batch_essay_trackers
    WHERE state = 'completed' AND class_type = 'GUEST'
      AND completed_at < clock_timestamp() - CAST(:age AS interval)
      AND NOT batch_id = ANY(CAST(:but AS text[]))
    ORDER BY completed_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
""")
_LOCK_ABANDONED = text("""
    SELECT batch_id FROM batch_essay_trackers
    WHERE state IN ('open', 'content_complete') AND class_type = 'GUEST'
      AND registered_at < clock_timestamp() - CAST(:age AS interval)
      AND NOT batch_id = ANY(CAST(:but AS text[]))
    ORDER BY registered_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
""")
_LOCK_ONE = text("""
    SELECT batch_id, class_type FROM batch_essay_trackers
    WHERE batch_id = :batch_id AND state NOT IN ('unregistered', 'purged') FOR UPDATE
""")

# A statement after the lock, with a snapshot of its own: while we hold the rows nobody can add to their outbox.
_UNPUBLISHED = text("""
    SELECT i.batch_id FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    WHERE EXISTS (SELECT FROM event_outbox o WHERE o.order_key = i.batch_id)
""")

# The dead letters keep reason, place and hash. Counted first: what a run removes is what a dry run would have said.
_REMOVE = text("""
    WITH gone AS (SELECT unnest(CAST(:batch_ids AS text[])) AS batch_id),
    essays AS (DELETE FROM essay_states e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    slots AS (DELETE FROM slot_assignments e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    failures AS (DELETE FROM batch_validation_failures e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    excess AS (DELETE FROM batch_excess_content e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    letters AS (
        UPDATE dead_letters d SET value = NULL, key = NULL, headers = CAST('[]' AS bytea)
        FROM gone g WHERE d.batch_id = g.batch_id AND num_nonnulls(d.value, d.key) > 0 RETURNING 1
    ),
    tombstones AS (
        UPDATE batch_essay_trackers t
        SET state = 'purged', purged_at = clock_timestamp(), user_id = NULL, org_id = NULL, class_id = NULL,
            course_code = NULL, student_prompt_ref = NULL, registration_digest = NULL, correlation_id = NULL
        FROM gone g WHERE t.batch_id = g.batch_id RETURNING 1
    )
    SELECT (SELECT count(*) FROM tombstones) AS batches, (SELECT count(*) FROM essays) AS essay_states,
           (SELECT count(*) FROM slots) AS slot_assignments, (SELECT count(*) FROM failures) AS validation_failures,
           (SELECT count(*) FROM excess) AS excess_content, (SELECT count(*) FROM letters) AS dead_letters
""")
_COUNT = text("""
    WITH gone AS (SELECT unnest(CAST(:batch_ids AS text[])) AS batch_id)
    SELECT (SELECT count(*) FROM gone) AS batches,
           (SELECT count(*) FROM gone JOIN essay_states e USING (batch_id)) AS essay_states,
           (SELECT count(*) FROM gone JOIN slot_assignments e USING (batch_id)) AS slot_assignments,
           (SELECT count(*) FROM gone JOIN batch_validation_failures e USING (batch_id)) AS validation_failures,
           (SELECT count(*) FROM gone JOIN batch_excess_content e USING (batch_id)) AS excess_content,
           (SELECT count(*) FROM gone JOIN dead_letters d USING (batch_id)
            WHERE num_nonnulls(d.value, d.key) > 0) AS dead_letters
""")
_OLD = text("""
    SELECT t.batch_id FROM batch_essay_trackers t
    WHERE t.state = 'completed' AND t.class_type = 'GUEST'
      AND t.completed_at < clock_timestamp() - CAST(:age AS interval)
      AND NOT EXISTS (SELECT FROM event_outbox o WHERE o.order_key = t.batch_id)
""")

_BEGIN_LOG = text("""
    INSERT INTO purge_log (action, class_type, older_than_days, batches, removed)
    VALUES (:action, :class_type, :days, 0, '{}') RETURNING id
""")
_RECENT = text("""
    SELECT EXISTS (SELECT FROM purge_log
                   WHERE action = :action AND started_at > clock_timestamp() - CAST(:every AS interval))
""")
_ADD_TO_LOG = text("""
    UPDATE purge_log SET batches = :batches, removed = CAST(:removed AS jsonb), finished_at = clock_timestamp()
    WHERE id = :id
""")
_DROP_TOMBSTONES = text("""
    DELETE FROM batch_essay_trackers WHERE batch_id IN (
        SELECT batch_id FROM batch_essay_trackers
        WHERE state = 'purged' AND purged_at < clock_timestamp() - CAST(:age AS interval)
        LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")
_LOCK_BATCHES_OF = text("""
    SELECT FROM batch_essay_trackers
    WHERE batch_id = ANY(ARRAY(SELECT DISTINCT batch_id FROM essay_states WHERE student_id = :student_id))
    ORDER BY batch_id FOR UPDATE
""")
_FORGET_STUDENT = text("""
    UPDATE essay_states
    SET student_id = NULL, association_method = NULL, association_confidence = NULL, associated_by = NULL,
        associated_at = NULL, version = version + 1, updated_at = clock_timestamp()
    WHERE student_id = :student_id
""")


async def try_lock(conn: AsyncConnection) -> bool:
    """Take the one session lock of all purges, or say that another has it. It goes with the connection."""
    return bool((await conn.execute(_LOCK, {"key": LOCK_KEY})).scalar_one())


async def unlock(conn: AsyncConnection) -> None:
    await conn.execute(_UNLOCK, {"key": LOCK_KEY})


async def lock_old(conn: AsyncConnection, age: timedelta, limit: int, but: Collection[str]) -> list[str]:
    """Lock GUEST batches that completed longer ago than `age`, the oldest first; never waits."""
    return await _lock(conn, age, limit, but, abandoned=False)


async def lock_abandoned(conn: AsyncConnection, age: timedelta, limit: int, but: Collection[str]) -> list[str]:
    """Lock GUEST batches that were registered longer ago than `age` and never completed; never waits."""
    return await _lock(conn, age, limit, but, abandoned=True)


async def _lock(
    conn: AsyncConnection, age: timedelta, limit: int, but: Collection[str], *, abandoned: bool
) -> list[str]:
    asked = {"age": age, "limit": limit, "but": list(but)}
    return list((await conn.execute(_LOCK_ABANDONED if abandoned else _LOCK_OLD, asked)).scalars())


async def lock_one(conn: AsyncConnection, batch_id: str) -> str | None:
    """Lock one batch, whatever its age; its class type, or None where there is nothing to remove."""
    row = (await conn.execute(_LOCK_ONE, {"batch_id": batch_id})).one_or_none()
    return None if row is None else str(row.class_type)


async def unpublished(conn: AsyncConnection, batch_ids: Collection[str]) -> set[str]:
    """Those of these locked batches that still have events to send."""
    return set((await conn.execute(_UNPUBLISHED, {"batch_ids": list(batch_ids)})).scalars())


async def remove(conn: AsyncConnection, batch_ids: Collection[str]) -> Removed:
    """Remove locked batches; their tombstones stay."""
    return Removed(**(await conn.execute(_REMOVE, {"batch_ids": list(batch_ids)})).one()._asdict())


async def count(conn: AsyncConnection, batch_ids: Collection[str]) -> Removed:
    """What `remove` would remove; changes nothing."""
    return Removed(**(await conn.execute(_COUNT, {"batch_ids": list(batch_ids)})).one()._asdict())


async def old(conn: AsyncConnection, age: timedelta) -> list[str]:
    """The batches that a purge would take now; locks nothing."""
    return list((await conn.execute(_OLD, {"age": age})).scalars())


async def ran_within(conn: AsyncConnection, action: str, every: timedelta) -> bool:
    """Whether such a run began less than `every` ago."""
    return bool((await conn.execute(_RECENT, {"action": action, "every": every})).scalar_one())


async def begin_log(conn: AsyncConnection, action: str, class_type: str | None, days: int | None) -> int:
    asked = {"action": action, "class_type": class_type, "days": days}
    return int((await conn.execute(_BEGIN_LOG, asked)).scalar_one())


async def write_log(conn: AsyncConnection, log_id: int, batches: int, removed: Mapping[str, int]) -> None:
    """Say how far the run is, in the transaction that got it there: a killed run has its true record."""
    await conn.execute(_ADD_TO_LOG, {"id": log_id, "batches": batches, "removed": json.dumps(dict(removed))})


async def drop_tombstones(conn: AsyncConnection, age: timedelta, limit: int) -> int:
    """Remove tombstones older than `age`; how many."""
    return (await conn.execute(_DROP_TOMBSTONES, {"age": age, "limit": limit})).rowcount


async def forget_student(conn: AsyncConnection, student_id: str) -> int:
    """Clear the associations with a student, with their batches locked as by everybody; how many essays had one."""
    await conn.execute(_LOCK_BATCHES_OF, {"student_id": student_id})
    return (await conn.execute(_FORGET_STUDENT, {"student_id": student_id})).rowcount
