"""The invariants I1 to I8 as SQL: for each, a count of what it checks and the violations with their ids.

I1 a slot holds at most one content; I2 a content, and an upload, takes at most one slot; I3 the counters add up and
agree with the rows; I4 events and outcomes that may occur once occur once; I5 nothing was stored of records at or
after the stored offset; I6 no pending event is left behind; I7 a purged batch left no personal data; I8 events of the
outbox are in the order in which their facts became true.

Unsent events are read in Python, since segments are compressed, and handed to the queries as arrays (`unsent`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from els_stream.events import topics
from els_stream.queries import outbox_segments
from els_stream.queries.arrays import arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import CursorResult
    from sqlalchemy.ext.asyncio import AsyncConnection

_ONCE_PER_BATCH: Final = (
    topics.PROVISIONING_COMPLETED,
    topics.ESSAYS_READY,
    topics.VALIDATION_ERRORS,
    topics.READINESS_TIMEOUT,
)


@dataclass(frozen=True, slots=True)
class Check:
    """`checked` counts the rows that the check covers; `violations` selects one text for each violation."""

    invariant: str
    meaning: str
    checked: str
    violations: str


CHECKS: Final = (
    Check(
        "I1",
        "a slot holds at most one content, and both slot tables agree",
        "SELECT count(*) FROM essay_states",
        """
        SELECT format('slot %s/%s is free and taken at once', batch_id, essay_id) FROM essay_states
        WHERE current_status = 'uploaded' AND (text_storage_id IS NOT NULL OR failed_at IS NOT NULL)
        UNION ALL
        SELECT format('slot %s/%s has a content and a failure', batch_id, essay_id) FROM essay_states
        WHERE text_storage_id IS NOT NULL AND failed_at IS NOT NULL
        UNION ALL
        SELECT format('slot %s/%s differs between its two tables', a.batch_id, a.essay_id)
        FROM slot_assignments a LEFT JOIN essay_states e USING (batch_id, essay_id)
        WHERE (a.text_storage_id, a.file_upload_id) IS DISTINCT FROM (e.text_storage_id, e.file_upload_id)
        """,
    ),
    Check(
        "I2",
        "a content, and an upload, takes at most one slot of its batch",
        "SELECT count(*) FROM essay_states WHERE file_upload_id IS NOT NULL",
        """
        SELECT format('content %s of batch %s has %s slots', text_storage_id, batch_id, count(*))
        FROM essay_states WHERE text_storage_id IS NOT NULL GROUP BY batch_id, text_storage_id HAVING count(*) > 1
        UNION ALL
        SELECT format('upload %s of batch %s has %s slots', file_upload_id, batch_id, count(*))
        FROM essay_states WHERE file_upload_id IS NOT NULL GROUP BY batch_id, file_upload_id HAVING count(*) > 1
        """,
    ),
    Check(
        "I3",
        "filled + failed + free = registered, the counters agree with the rows, and a failed slot has its failure",
        "SELECT count(*) FROM batch_essay_trackers WHERE state NOT IN ('unregistered', 'purged')",
        """
        SELECT format('batch %s: counters show %s free, %s filled, %s failed of %s; rows show %s, %s, %s of %s',
                      t.batch_id, t.free_count, t.filled_count, t.failed_count, t.expected_count,
                      coalesce(e.free, 0), coalesce(e.filled, 0), coalesce(e.failed, 0), coalesce(e.slots, 0))
        FROM batch_essay_trackers t
        LEFT JOIN (
            SELECT batch_id, count(*) AS slots, count(text_storage_id) AS filled, count(failed_at) AS failed,
                   count(*) FILTER (WHERE current_status = 'uploaded' AND text_storage_id IS NULL
                                          AND failed_at IS NULL) AS free
            FROM essay_states GROUP BY batch_id
        ) e USING (batch_id)
        WHERE t.state NOT IN ('unregistered', 'purged')
          AND (t.expected_count, t.free_count, t.filled_count, t.failed_count)
              IS DISTINCT FROM (coalesce(e.slots, 0), coalesce(e.free, 0), coalesce(e.filled, 0),
                                coalesce(e.failed, 0))
        UNION ALL
        SELECT format('batch %s is %s with %s free slots', batch_id, state, free_count) FROM batch_essay_trackers
        WHERE (state = 'open' AND free_count = 0) OR (state IN ('content_complete', 'completed') AND free_count > 0)
        UNION ALL
        SELECT format('slot %s/%s failed, and the failure of upload %s is missing', e.batch_id, e.essay_id,
                      e.file_upload_id)
        FROM essay_states e
        LEFT JOIN batch_validation_failures f USING (batch_id, file_upload_id)
        WHERE e.failed_at IS NOT NULL AND e.text_storage_id IS NULL AND f.file_upload_id IS NULL
        """,
    ),
    Check(
        "I4",
        "once-only events are in the outbox once, and each content has one outcome",
        """
        SELECT (SELECT count(*) FROM unsent) + (SELECT count(*) FROM batch_excess_content)
             + (SELECT count(*) FROM batch_pending_events) + (SELECT count(text_storage_id) FROM essay_states)
        """,
        """
        SELECT format('batch %s has %s events of %s in the outbox', order_key, count(*), topic) FROM unsent
        WHERE topic = ANY(:once_per_batch) GROUP BY order_key, topic HAVING count(*) > 1
        UNION ALL
        SELECT format('content %s of batch %s is assigned and excess', e.text_storage_id, e.batch_id)
        FROM batch_excess_content x JOIN essay_states e USING (batch_id, text_storage_id)
        UNION ALL
        SELECT format('upload %s of batch %s has a slot and is excess', e.file_upload_id, e.batch_id)
        FROM batch_excess_content x JOIN essay_states e USING (batch_id, file_upload_id)
        WHERE e.text_storage_id IS NOT NULL
        UNION ALL
        SELECT format('content %s of batch %s is pending and assigned', e.text_storage_id, p.batch_id)
        FROM batch_pending_events p JOIN essay_states e
             ON e.batch_id = p.batch_id AND e.file_upload_id = p.subject
        WHERE p.kind = 'content_provisioned' AND e.text_storage_id IS NOT NULL
        UNION ALL
        SELECT format('batch %s has excess content and %s free slots', t.batch_id, t.free_count)
        FROM batch_essay_trackers t
        WHERE t.free_count > 0 AND EXISTS (SELECT FROM batch_excess_content x WHERE x.batch_id = t.batch_id)
        UNION ALL
        SELECT format('batch %s is complete and confirmed, but not ready', batch_id) FROM batch_essay_trackers
        WHERE state = 'content_complete'
          AND (associations_confirmed_at IS NOT NULL OR class_type = 'GUEST' OR filled_count = 0)
        """,
    ),
    Check(
        "I5",
        "pending events and dead letters were read before the stored offset, and watermarks do not lie ahead",
        "SELECT (SELECT count(*) FROM consumed_offsets) + (SELECT count(*) FROM dead_letters)",
        """
        SELECT format('dead letter %s, %s/%s at %s, is not before the stored offset', d.id, d.source_topic,
                      d.source_partition, d.source_offset)
        FROM dead_letters d
        JOIN consumed_offsets c ON c.topic = :prefix || d.source_topic AND c.partition = d.source_partition
             AND c.consumer_group = :consumer_group
        WHERE d.source_offset >= c.next_offset AND d.created_at > c.updated_at
        UNION ALL
        SELECT format('pending %s of batch %s, %s/%s at %s, is not before the stored offset', p.subject, p.batch_id,
                      p.source_topic, p.source_partition, p.source_offset)
        FROM batch_pending_events p
        JOIN consumed_offsets c ON c.topic = :prefix || p.source_topic AND c.partition = p.source_partition
             AND c.consumer_group = :consumer_group
        WHERE p.source_offset >= c.next_offset AND p.pending_since > c.updated_at
        UNION ALL
        SELECT format('%s/%s: its watermark %s lies ahead of the database''s clock', topic, partition, watermark_at)
        FROM consumed_offsets
        WHERE consumer_group = :consumer_group AND watermark_at > clock_timestamp()
        """,
    ),
    Check(
        "I6",
        "pending events wait for their registration, and are counted",
        "SELECT count(*) FROM batch_pending_events",
        """
        SELECT format('batch %s is %s and has %s pending events', t.batch_id, t.state, count(*))
        FROM batch_pending_events p JOIN batch_essay_trackers t USING (batch_id)
        WHERE t.state <> 'unregistered' GROUP BY t.batch_id, t.state
        UNION ALL
        SELECT format('batch %s counts %s pending events and has %s', t.batch_id, t.pending_count, coalesce(p.n, 0))
        FROM batch_essay_trackers t
        LEFT JOIN (SELECT batch_id, count(*) AS n FROM batch_pending_events GROUP BY batch_id) p USING (batch_id)
        WHERE t.state = 'unregistered' AND (t.pending_count <> coalesce(p.n, 0) OR t.pending_count = 0)
        """,
    ),
    Check(
        "I7",
        "a purged batch left its tombstone and no personal data",
        "SELECT count(*) FROM batch_essay_trackers WHERE state = 'purged'",
        """
        SELECT format('purged batch %s still has rows', t.batch_id) FROM batch_essay_trackers t
        WHERE t.state = 'purged'
          AND (EXISTS (SELECT FROM essay_states e WHERE e.batch_id = t.batch_id)
               OR EXISTS (SELECT FROM slot_assignments e WHERE e.batch_id = t.batch_id)
               OR EXISTS (SELECT FROM batch_excess_content e WHERE e.batch_id = t.batch_id)
               OR EXISTS (SELECT FROM batch_validation_failures e WHERE e.batch_id = t.batch_id)
               OR EXISTS (SELECT FROM batch_pending_events e WHERE e.batch_id = t.batch_id)
               OR EXISTS (SELECT FROM unsent e WHERE e.order_key = t.batch_id)
               OR EXISTS (SELECT FROM dead_letters d WHERE d.batch_id = t.batch_id AND d.value IS NOT NULL
                                                       AND d.created_at <= t.purged_at))
        UNION ALL
        SELECT format('purged batch %s still has its owner', batch_id) FROM batch_essay_trackers
        WHERE state = 'purged' AND num_nonnulls(user_id, org_id, class_id, student_prompt_ref) > 0
        """,
    ),
    Check(
        "I8",
        "the unsent events of a batch are in the order in which their facts became true",
        "SELECT count(*) FROM unsent",
        """
        SELECT format('outbox of %s: sequence %s comes after %s', order_key, sequence, before)
        FROM (
            SELECT order_key, sequence, lag(sequence) OVER (PARTITION BY order_key ORDER BY number) AS before
            FROM unsent
        ) o
        WHERE before >= sequence
        UNION ALL
        SELECT format('outbox of %s: segments of %s shards', order_key, count(DISTINCT shard))
        FROM unsent WHERE shard IS NOT NULL GROUP BY order_key HAVING count(DISTINCT shard) > 1
        UNION ALL
        SELECT format('outbox of %s: its tracker does not have its last segment', t.batch_id)
        FROM (SELECT order_key, max(position) AS position FROM unsent WHERE shard IS NOT NULL GROUP BY order_key) u
        JOIN batch_essay_trackers t ON t.batch_id = u.order_key
        WHERE t.outbox_position IS DISTINCT FROM u.position
        UNION ALL
        SELECT format('outbox of %s: sequence %s was never assigned', o.order_key, o.sequence)
        FROM unsent o JOIN batch_essay_trackers t ON t.batch_id = o.order_key
        WHERE o.sequence >= t.next_sequence AND o.topic <> :dead_letter_topic
        """,
    ),
)


_UNSENT: Final = """
    WITH unsent AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:order_keys AS text[]), CAST(:sequences AS bigint[]), CAST(:topics AS text[]),
                             CAST(:shards AS int[]), CAST(:positions AS bigint[]))
            WITH ORDINALITY AS u (order_key, sequence, topic, shard, position, number)
    )
"""
_EXCEPTIONS = text("SELECT order_key, sequence, topic FROM event_outbox ORDER BY position")


class OutboxEntry(NamedTuple):
    """An event of the outbox; `shard` and `position` are those of its segment, None for an exception."""

    order_key: str
    sequence: int
    topic: str
    shard: int | None = None
    position: int | None = None


async def read_unsent(conn: AsyncConnection) -> list[OutboxEntry]:
    """Return all events of the outbox, those of each key in the order in which they will be sent."""
    unsent = [OutboxEntry(*row) for row in await conn.execute(_EXCEPTIONS)]
    for stored in await outbox_segments.read_all(conn):
        shard, position, rows = stored.segment
        unsent += [OutboxEntry(row.order_key, row.sequence, row.topic, shard, position) for row in rows]
    return unsent


async def run_check(
    conn: AsyncConnection, check: Check, unsent: Sequence[OutboxEntry], *, consumer_group: str, prefix: str
) -> tuple[int, list[str]]:
    """Return how many rows were checked, and the violations. Locks nothing."""
    params = {
        "consumer_group": consumer_group,
        "prefix": prefix,
        "once_per_batch": list(_ONCE_PER_BATCH),
        "dead_letter_topic": topics.DEAD_LETTER,
        **arrays(
            unsent,
            order_keys=lambda one: one.order_key,
            sequences=lambda one: one.sequence,
            topics=lambda one: one.topic,
            shards=lambda one: one.shard,
            positions=lambda one: one.position,
        ),
    }
    checked = (await _run(conn, check.checked, params)).scalar_one()
    return checked, [str(row[0]) for row in await _run(conn, check.violations, params)]


async def _run(conn: AsyncConnection, sql: str, params: Mapping[str, object]) -> CursorResult[Any]:
    statement = text(_UNSENT + sql if " unsent" in sql else sql)
    return await conn.execute(statement, {name: params[name] for name in statement.compile().params})
