"""Pending events: those of batches that are not registered yet, until the registration takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from els_stream.domain.pending import PendingKey, PendingKind
from els_stream.fast_dataclass import fast_dataclass
from els_stream.queries.arrays import arrays, record_arrays, record_from_row

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.records import RawRecord


@fast_dataclass
class PendingEvent:
    """A pending record; `key` is its identity within the batch."""

    batch_id: str
    key: PendingKey
    record: RawRecord


class ExistingPending(NamedTuple):
    """A pending event that is stored already; `text_id` is None unless it is a content."""

    batch_id: str
    key: PendingKey
    text_id: str | None


class PendingKindCount(NamedTuple):
    """The number of pending events of one kind over all batches, and the age of the oldest."""

    kind: str
    events: int
    oldest_seconds: float


_EXISTING = text("""
    SELECT p.batch_id, p.kind, p.subject,
           CASE WHEN p.kind = 'content_provisioned'
                THEN CAST(convert_from(p.value, 'UTF8') AS json) #>> '{data,text_storage_id}' END AS text_id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:kinds AS text[]), CAST(:subjects AS text[]))
         AS i (batch_id, kind, subject)
    CROSS JOIN LATERAL (
        SELECT * FROM batch_pending_events e
        WHERE e.batch_id = i.batch_id AND e.kind = i.kind AND e.subject = i.subject
    ) p
""")

# ORDER BY keeps the order of arrival: the identity column is filled row by row.
_ADD = text("""
    INSERT INTO batch_pending_events
        (batch_id, kind, subject, source_topic, source_partition, source_offset, source_timestamp, key, value, headers)
    SELECT i.batch_id, i.kind, i.subject, i.topic, i.partition, i.record_offset, i.record_timestamp, i.key, i.value,
           i.headers
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:kinds AS text[]), CAST(:subjects AS text[]), CAST(:topics AS text[]),
                CAST(:partitions AS int[]), CAST(:offsets AS bigint[]), CAST(:timestamps AS bigint[]),
                CAST(:keys AS bytea[]), CAST(:values AS bytea[]), CAST(:headers AS bytea[]))
         WITH ORDINALITY AS i (batch_id, kind, subject, topic, partition, record_offset, record_timestamp, key, value,
                               headers, ord)
    ORDER BY i.ord
""")

_COUNT_BY_KIND = text("""
    SELECT kind, count(*), CAST(extract(epoch FROM now() - min(pending_since)) AS float8)
    FROM batch_pending_events GROUP BY kind ORDER BY kind
""")

_TAKE_ALL = text("""
    DELETE FROM batch_pending_events WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
    RETURNING batch_id, kind, subject, arrival, source_topic, source_partition, source_offset, source_timestamp, key,
              value, headers
""")


async def count_by_kind(conn: AsyncConnection) -> list[PendingKindCount]:
    """Count all pending events; kinds without events are left out. Reads the whole table."""
    return [PendingKindCount(*row) for row in await conn.execute(_COUNT_BY_KIND)]


async def existing(conn: AsyncConnection, events: Collection[PendingEvent]) -> list[ExistingPending]:
    """Return those of these events that are stored already, with the text ids of contents."""
    rows = await conn.execute(_EXISTING, _identity_arrays(events))
    return [ExistingPending(r.batch_id, PendingKey(PendingKind(r.kind), r.subject), r.text_id) for r in rows]


async def add(conn: AsyncConnection, events: Sequence[PendingEvent]) -> None:
    """Store these events in this order. The caller has locked their tracker rows; none of them exists."""
    await conn.execute(_ADD, {**_identity_arrays(events), **record_arrays([event.record for event in events])})


async def take_all(conn: AsyncConnection, batch_ids: Collection[str]) -> list[PendingEvent]:
    """Delete and return all events of these batches, by batch in order of arrival. Their tracker rows are locked."""
    rows = (await conn.execute(_TAKE_ALL, {"batch_ids": list(batch_ids)})).all()
    return [
        PendingEvent(row.batch_id, PendingKey(PendingKind(row.kind), row.subject), record_from_row(row))
        for row in sorted(rows, key=lambda row: (row.batch_id, row.arrival))
    ]


def _identity_arrays(events: Collection[PendingEvent]) -> dict[str, list[object]]:
    return arrays(
        events,
        batch_ids=lambda e: e.batch_id,
        kinds=lambda e: e.key.kind.value,
        subjects=lambda e: e.key.subject,
    )
