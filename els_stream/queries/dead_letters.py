"""Insertion of dead letters: records that can never be applied, stored with their payload."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from els_stream.queries.arrays import arrays, record_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.dead_letter_reasons import DeadLetterReason
    from els_stream.events.records import RawRecord

# The position in Kafka identifies a record: if it has a dead letter already, that one stays as it is. When it was
# replayed and fails again, now or after it was pending in between, it gets another dead letter, linked to its first. So
# at most one dead letter of a record is open.
#
# `created_at` is the time of the insertion: a transaction that waited for a purge began before it.
_ADD = text("""
    INSERT INTO dead_letters
        (batch_id, reason, message, source_topic, source_partition, source_offset, source_timestamp, key, value,
         value_size, value_sha256, headers, field, created_at)
    SELECT i.*, clock_timestamp()
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:reasons AS text[]), CAST(:messages AS text[]),
                CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                CAST(:timestamps AS bigint[]), CAST(:keys AS bytea[]), CAST(:values AS bytea[]),
                CAST(:sizes AS bigint[]), CAST(:hashes AS bytea[]), CAST(:headers AS bytea[]),
                CAST(:fields AS text[])) AS i
    ON CONFLICT (source_topic, source_partition, source_offset, source_timestamp) WHERE replay_of IS NULL DO NOTHING
    RETURNING source_topic, source_partition, source_offset, source_timestamp
""")

_ADD_AGAIN = text("""
    INSERT INTO dead_letters
        (batch_id, reason, message, source_topic, source_partition, source_offset, source_timestamp, key, value,
         value_size, value_sha256, headers, field, created_at, replay_of)
    SELECT i.*, clock_timestamp(), first.id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:reasons AS text[]), CAST(:messages AS text[]),
                CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                CAST(:timestamps AS bigint[]), CAST(:keys AS bytea[]), CAST(:values AS bytea[]),
                CAST(:sizes AS bigint[]), CAST(:hashes AS bytea[]), CAST(:headers AS bytea[]),
                CAST(:fields AS text[]))
         AS i (batch_id, reason, message, topic, partition, record_offset, record_timestamp, key, value, size, hash,
               headers, field)
    JOIN dead_letters first
        ON first.source_topic = i.topic AND first.source_partition = i.partition
       AND first.source_offset = i.record_offset AND first.source_timestamp = i.record_timestamp
       AND first.replay_of IS NULL
    CROSS JOIN LATERAL (
        SELECT d.state FROM dead_letters d WHERE d.id = first.id OR d.replay_of = first.id ORDER BY d.id DESC LIMIT 1
    ) last
    WHERE last.state = 'replayed'
""")


class RecordPosition(NamedTuple):
    """The position of a record in Kafka; the timestamp (ms) distinguishes a recreated topic from the old one."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be applied, and why; `batch_id` is None if the record could not be decoded that far."""

    record: RawRecord
    batch_id: str | None
    reason: DeadLetterReason
    message: str
    field: str | None = None

    @property
    def position(self) -> RecordPosition:
        record = self.record
        return RecordPosition(record.topic, record.partition, record.offset, record.timestamp)


async def add(conn: AsyncConnection, dead_letters: Sequence[DeadLetter]) -> set[RecordPosition]:
    """Store dead letters, one per position; return the positions that had none before, whose events must be published.

    A record that was replayed gets another dead letter, linked to its first. Batch ids must not contain NUL. The
    caller has locked the tracker rows of these batches.
    """
    # Sorted: otherwise two transactions that store the same records could deadlock.
    dead_letters = sorted(dead_letters, key=lambda dead_letter: dead_letter.position)
    rows = await conn.execute(_ADD, _columns(dead_letters))
    new = {RecordPosition(*row) for row in rows}
    if again := [dead_letter for dead_letter in dead_letters if dead_letter.position not in new]:
        await conn.execute(_ADD_AGAIN, _columns(again))
    return new


def _columns(dead_letters: Sequence[DeadLetter]) -> dict[str, list[object]]:
    records = [dead_letter.record for dead_letter in dead_letters]
    return {
        **arrays(
            dead_letters,
            batch_ids=lambda d: d.batch_id,
            reasons=lambda d: d.reason.value,
            messages=lambda d: d.message,
            fields=lambda d: d.field,
        ),
        **record_arrays(records),
        **arrays(
            [record.value or b"" for record in records],
            sizes=len,
            hashes=lambda value: hashlib.sha256(value).digest(),
        ),
    }
