"""Invariants of every committed state: those of `els verify`, and stricter ones while nothing has left the outbox."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events import topics
from els_stream.verify.invariants import check_invariants
from tests.support.unsent_events import query_unsent

# The outbox still has every event, so the events can be compared with the facts.
_GAPS = text("""
    SELECT format('batch %s used %s numbers for %s events', t.batch_id, t.next_sequence - 1, count(o.event_id))
    FROM batch_essay_trackers t LEFT JOIN unsent_events o ON o.order_key = t.batch_id
    GROUP BY t.batch_id
    HAVING count(o.event_id) <> t.next_sequence - 1 OR coalesce(max(o.sequence), 0) <> t.next_sequence - 1
        OR count(DISTINCT o.sequence) <> t.next_sequence - 1
""")
_PUBLISHED = text("""
    SELECT format('batch %s: %s published %s times, expected %s', t.batch_id, o.topic, coalesce(o.n, 0), t.n)
    FROM (
        SELECT batch_id, topic, n FROM batch_essay_trackers t
        CROSS JOIN LATERAL (VALUES
            (CAST(:assigned AS text), t.filled_count),
            (:excess, (SELECT count(*) FROM batch_excess_content x WHERE x.batch_id = t.batch_id)),
            (:completed, CASE WHEN t.content_completed_at IS NULL THEN 0 ELSE 1 END),
            (:errors, CASE WHEN t.content_completed_at IS NULL OR t.failed_count = 0 THEN 0 ELSE 1 END),
            (:ready, CASE WHEN t.class_type = 'REGULAR' AND t.filled_count > 0 AND t.completed_at IS NOT NULL
                          THEN 1 ELSE 0 END)
        ) AS v (topic, n)
        WHERE t.state <> 'purged'
    ) t
    LEFT JOIN (SELECT order_key, topic, count(*) AS n FROM unsent_events GROUP BY order_key, topic) o
        ON o.order_key = t.batch_id AND o.topic = t.topic
    WHERE t.n <> coalesce(o.n, 0)
""")
# Assigned before validation errors before completed before ready; an excess only after the completion.
_ORDER = text("""
    SELECT format('batch %s publishes %s after %s', order_key, topic, before)
    FROM (
        SELECT order_key, topic, lag(topic) OVER w AS before, rank, lag(rank) OVER w AS rank_before
        FROM (SELECT *, CASE topic WHEN :assigned THEN 1 WHEN :errors THEN 2 WHEN :completed THEN 3 ELSE 4 END AS rank
              FROM unsent_events WHERE order_key NOT LIKE 'dead-letter:%' AND topic <> :timeout) o
        WINDOW w AS (PARTITION BY order_key ORDER BY sequence)
    ) w
    WHERE rank < rank_before
""")
_DEAD_LETTERS = text("""
    SELECT format('%s dead letters, %s events of them', d.n, o.n)
    FROM (SELECT count(*) AS n FROM dead_letters WHERE replay_of IS NULL) d,
         (SELECT count(*) AS n FROM unsent_events WHERE topic = :dead_letter) o
    WHERE d.n <> o.n
""")


async def broken_invariants(conn: AsyncConnection) -> list[str]:
    """Return a line for each violation that the checks of `els verify` find."""
    return [
        f"{finding.invariant}: {violation}"
        for finding in await check_invariants(conn, consumer_group="essay-lifecycle-service", prefix="")
        for violation in finding.examples
    ]


async def violations(conn: AsyncConnection) -> list[str]:
    """Return all violations of a database whose outbox has every event that was published."""
    found = await broken_invariants(conn)
    names = {
        "assigned": topics.SLOT_ASSIGNED,
        "excess": topics.EXCESS_CONTENT,
        "completed": topics.PROVISIONING_COMPLETED,
        "errors": topics.VALIDATION_ERRORS,
        "ready": topics.ESSAYS_READY,
        "timeout": topics.READINESS_TIMEOUT,
        "dead_letter": topics.DEAD_LETTER,
    }
    for query in (_GAPS, _PUBLISHED, _ORDER, _DEAD_LETTERS):
        rows = await query_unsent(conn, query.text, {name: names[name] for name in query.compile().params})
        found += [str(row[0]) for row in rows]
    return found
