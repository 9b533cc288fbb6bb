"""Purge of a batch: removes every row but its tombstone, under its tracker lock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from els_stream.domain.purge_results import Removed

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_KEY: Final = 0x656C7375  # "elsu", one key for the purges of all processes

_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")

_FINISHED: Final = (
    "t.state = 'completed' AND t.class_type = 'GUEST' AND t.completed_at < now() - CAST(:age AS interval)"
)
_ABANDONED: Final = """
    t.state IN ('open', 'content_complete') AND t.class_type = 'GUEST'
    AND t.registered_at < now() - CAST(:age AS interval)
"""
# SKIP LOCKED: a batch that is in use is left for the next run. PostgreSQL checks the conditions again on a row that
# changed before it was locked. The scan continues after the last batch, so one that must stay is checked once a run.
_LOCK_OLDEST: Final = """
    SELECT {since} AS since, t.batch_id FROM batch_essay_trackers t
    WHERE {which} AND ({since}, t.batch_id) > (CAST(:after AS timestamptz), CAST(:after_id AS text))
    ORDER BY {since}, t.batch_id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
"""
_LOCK_FINISHED = text(_LOCK_OLDEST.format(since="t.completed_at", which=_FINISHED))
_LOCK_ABANDONED = text(_LOCK_OLDEST.format(since="t.registered_at", which=_ABANDONED))
_LOCK_ONE = text("SELECT state, class_type FROM batch_essay_trackers WHERE batch_id = :batch_id FOR UPDATE")

# The tracker has the batch's last segment; once it is gone, no other one waits. The event of a dead letter contains the
# record and has an order key of its own, made of the record's position. No segment that is
# younger than the dead letter has it; so while an older one waits, the event may be in there.
_HAS_UNPUBLISHED: Final = """
    (EXISTS (SELECT FROM event_outbox o WHERE o.order_key = t.batch_id)
     OR EXISTS (SELECT FROM batch_essay_trackers b
                JOIN outbox_segments s ON s.shard = b.outbox_shard AND s.position = b.outbox_position
                WHERE b.batch_id = t.batch_id)
     OR EXISTS (SELECT FROM dead_letters d
                WHERE d.batch_id = t.batch_id AND d.created_at >= (SELECT min(created_at) FROM outbox_segments))
     OR EXISTS (SELECT FROM dead_letters d
                JOIN event_outbox o ON o.order_key = format('dead-letter:%s/%s/%s/%s', d.source_topic,
                                                            d.source_partition, d.source_offset, d.source_timestamp)
                WHERE d.batch_id = t.batch_id))
"""
# A separate statement after the lock, with its own snapshot: while the rows are locked, no event can be added.
_UNPUBLISHED_OF: Final = "SELECT t.batch_id FROM unnest(CAST(:batch_ids AS text[])) AS t (batch_id) WHERE {unpublished}"
_UNPUBLISHED = text(_UNPUBLISHED_OF.format(unpublished=_HAS_UNPUBLISHED))

_WITH_PAYLOAD: Final = "(num_nonnulls(d.value, d.key) > 0 OR d.headers <> CAST('[]' AS bytea))"
# Dead letters keep reason, position and hash. A batch that never registered leaves no tombstone.
_REMOVE: Final = """
    WITH gone AS (SELECT unnest(CAST(:batch_ids AS text[])) AS batch_id),
    essays AS (DELETE FROM essay_states e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    slots AS (DELETE FROM slot_assignments e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    failures AS (DELETE FROM batch_validation_failures e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    excess AS (DELETE FROM batch_excess_content e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    pending AS (DELETE FROM batch_pending_events e USING gone g WHERE e.batch_id = g.batch_id RETURNING 1),
    payloads AS (
        UPDATE dead_letters d SET value = NULL, key = NULL, headers = CAST('[]' AS bytea)
        FROM gone g WHERE d.batch_id = g.batch_id AND {with_payload} RETURNING 1
    ),
    unregistered AS (
        DELETE FROM batch_essay_trackers t USING gone g WHERE t.batch_id = g.batch_id AND t.state = 'unregistered'
    ),
    tombstones AS (
        UPDATE batch_essay_trackers t
        SET state = 'purged', purged_at = clock_timestamp(), user_id = NULL, org_id = NULL, class_id = NULL,
            course_code = NULL, student_prompt_ref = NULL, registration_digest = NULL, correlation_id = NULL
        FROM gone g WHERE t.batch_id = g.batch_id AND t.state NOT IN ('unregistered', 'purged') RETURNING 1
    )
    SELECT (SELECT count(*) FROM tombstones) AS batches, (SELECT count(*) FROM essays) AS essay_states,
           (SELECT count(*) FROM slots) AS slot_assignments, (SELECT count(*) FROM failures) AS validation_failures,
           (SELECT count(*) FROM excess) AS excess_content, (SELECT count(*) FROM pending) AS pending_events,
           (SELECT count(*) FROM payloads) AS dead_letters
"""
_COUNT: Final = """
    WITH gone AS MATERIALIZED ({gone})
    SELECT (SELECT count(*) FROM gone JOIN batch_essay_trackers t USING (batch_id)
            WHERE t.state NOT IN ('unregistered', 'purged')) AS batches,
           (SELECT count(*) FROM gone JOIN essay_states e USING (batch_id)) AS essay_states,
           (SELECT count(*) FROM gone JOIN slot_assignments e USING (batch_id)) AS slot_assignments,
           (SELECT count(*) FROM gone JOIN batch_validation_failures e USING (batch_id)) AS validation_failures,
           (SELECT count(*) FROM gone JOIN batch_excess_content e USING (batch_id)) AS excess_content,
           (SELECT count(*) FROM gone JOIN batch_pending_events e USING (batch_id)) AS pending_events,
           (SELECT count(*) FROM gone JOIN dead_letters d USING (batch_id) WHERE {with_payload}) AS dead_letters
"""
_OLD: Final = "SELECT t.batch_id FROM batch_essay_trackers t WHERE {finished} AND NOT {unpublished}"
_REMOVE_BATCHES = text(_REMOVE.format(with_payload=_WITH_PAYLOAD))
_COUNT_OLD = text(
    _COUNT.format(gone=_OLD.format(finished=_FINISHED, unpublished=_HAS_UNPUBLISHED), with_payload=_WITH_PAYLOAD)
)
_COUNT_ONE = text(_COUNT.format(gone="SELECT CAST(:batch_id AS text) AS batch_id", with_payload=_WITH_PAYLOAD))

_DELETE_TOMBSTONES = text("""
    DELETE FROM batch_essay_trackers WHERE batch_id IN (
        SELECT batch_id FROM batch_essay_trackers
        WHERE state = 'purged' AND purged_at < now() - CAST(:age AS interval)
        ORDER BY purged_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")


class PurgeCursor(NamedTuple):
    """A position in the order of age: the time that the age counts from, and the batch id."""

    since: datetime
    batch_id: str


BEFORE_ALL: Final = PurgeCursor(datetime(1, 1, 1, tzinfo=UTC), "")


async def try_lock(conn: AsyncConnection) -> bool:
    """Try to take the session lock of all purges; it ends with the connection. Return whether it was taken."""
    return bool((await conn.execute(_LOCK, {"key": LOCK_KEY})).scalar_one())


async def unlock(conn: AsyncConnection) -> None:
    """Release the session lock of all purges."""
    await conn.execute(_UNLOCK, {"key": LOCK_KEY})


async def lock_oldest(
    conn: AsyncConnection, age: timedelta, *, after: PurgeCursor, limit: int, abandoned: bool
) -> list[PurgeCursor]:
    """Lock and return GUEST batches older than `age`, oldest first; never waits for a row lock.

    The age counts from completion, or for `abandoned` ones, which never completed, from registration; by the
    database's clock. `after` is exclusive.
    """
    params = {"age": age, "limit": limit, "after": after.since, "after_id": after.batch_id}
    return [PurgeCursor(*row) for row in await conn.execute(_LOCK_ABANDONED if abandoned else _LOCK_FINISHED, params)]


async def lock_one(conn: AsyncConnection, batch_id: str) -> tuple[str, str | None] | None:
    """Lock one batch of any age; return its state and class type, or None if there is no such batch."""
    row = (await conn.execute(_LOCK_ONE, {"batch_id": batch_id})).one_or_none()
    return None if row is None else (row.state, row.class_type)


async def unpublished(conn: AsyncConnection, batch_ids: Collection[str]) -> set[str]:
    """Return those of these locked batches with unsent events, of their own or of their dead letters."""
    return set((await conn.execute(_UNPUBLISHED, {"batch_ids": list(batch_ids)})).scalars())


async def remove(conn: AsyncConnection, batch_ids: Collection[str]) -> Removed:
    """Remove locked batches, except for their tombstones; return the numbers of rows."""
    return Removed(**(await conn.execute(_REMOVE_BATCHES, {"batch_ids": list(batch_ids)})).one()._asdict())


async def count_old(conn: AsyncConnection, age: timedelta) -> Removed:
    """Count what a purge of finished batches would remove now; locks and changes nothing."""
    return Removed(**(await conn.execute(_COUNT_OLD, {"age": age})).one()._asdict())


async def count_one(conn: AsyncConnection, batch_id: str) -> Removed:
    """Count what `remove` would remove of one batch; changes nothing."""
    return Removed(**(await conn.execute(_COUNT_ONE, {"batch_id": batch_id})).one()._asdict())


async def delete_tombstones(conn: AsyncConnection, age: timedelta, limit: int) -> int:
    """Delete at most `limit` tombstones older than `age`; return how many."""
    return (await conn.execute(_DELETE_TOMBSTONES, {"age": age, "limit": limit})).rowcount
