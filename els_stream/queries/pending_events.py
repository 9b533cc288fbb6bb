"""What came before its batch: parked beside the `unregistered` tracker row, taken by the registration."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.events.headers import decode_headers, encode_headers
from els_stream.events.records import RawRecord
from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


class PendingKind(StrEnum):
    """What is parked; a CHECK in the database repeats these."""

    CONTENT = "content_provisioned"
    FAILURE = "validation_failed"
    ASSOCIATIONS = "associations_confirmed"


@fast_dataclass
class PendingEvent:
    """A parked record. `subject` is what makes a second delivery a repeat: upload id, event id."""

    batch_id: str
    kind: PendingKind
    subject: str
    record: RawRecord

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.batch_id, self.kind.value, self.subject


# A content is known by its upload: the same text by another may have to stand in for it, should that be refused.
_KNOWN = text("""
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

# ORDER BY keeps the order of arrival: the identity is drawn row by row.
_PARK = text("""
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

_DRAIN = text("""
    DELETE FROM batch_pending_events WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
    RETURNING batch_id, kind, subject, arrival, source_topic, source_partition, source_offset, source_timestamp, key,
              value, headers
""")


async def known(conn: AsyncConnection, events: Collection[PendingEvent]) -> dict[tuple[str, str, str], str | None]:
    """The identities, out of these, that are parked already, with the text ids of contents."""
    rows = await conn.execute(
        _KNOWN,
        {
            "batch_ids": [e.batch_id for e in events],
            "kinds": [e.kind.value for e in events],
            "subjects": [e.subject for e in events],
        },
    )
    return {(row.batch_id, row.kind, row.subject): row.text_id for row in rows}


async def park(conn: AsyncConnection, events: Sequence[PendingEvent]) -> None:
    """Park these, in this order; their tracker rows are locked and none of them is known."""
    records = [e.record for e in events]
    await conn.execute(
        _PARK,
        {
            "batch_ids": [e.batch_id for e in events],
            "kinds": [e.kind.value for e in events],
            "subjects": [e.subject for e in events],
            "topics": [r.topic for r in records],
            "partitions": [r.partition for r in records],
            "offsets": [r.offset for r in records],
            "timestamps": [r.timestamp for r in records],
            "keys": [r.key for r in records],
            "values": [r.value for r in records],
            "headers": [encode_headers(r.headers) for r in records],
        },
    )


async def drain(conn: AsyncConnection, batch_ids: Collection[str]) -> list[PendingEvent]:
    """Take away all that is parked for these batches, in order of arrival; their tracker rows are locked."""
    rows = (await conn.execute(_DRAIN, {"batch_ids": list(batch_ids)})).all()
    return [
        PendingEvent(
            row.batch_id,
            PendingKind(row.kind),
            row.subject,
            RawRecord(
                row.source_topic,
                row.source_partition,
                row.source_offset,
                row.source_timestamp,
                row.key,
                row.value,
                decode_headers(row.headers),
            ),
        )
        for row in sorted(rows, key=lambda row: (row.batch_id, row.arrival))
    ]
