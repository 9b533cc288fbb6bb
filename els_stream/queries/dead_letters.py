"""Dead letters: the records that can never be applied, kept whole, each told to the platform through the outbox."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.events.headers import encode_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.dead_letter_reasons import DeadLetterReason
    from els_stream.events.records import RawRecord

Source = tuple[str, int, int, int]

# The place in Kafka is the identity: a record that is buried already, by whichever way it came again, stays as it is.
# That is the first letter of a record. When it was replayed and fails again, now or after it was parked in between, it
# gets another letter, linked to the first: exactly one of a record's letters is open until it is replayed or dropped.
#
# The time is that of the burial: a transaction that waited for a purge began before it.
_ADD = text("""
    INSERT INTO dead_letters
        (batch_id, reason, message, source_topic, source_partition, source_offset, source_timestamp, key, value,
         value_size, value_sha256, headers, created_at)
    SELECT i.*, clock_timestamp()
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:reasons AS text[]), CAST(:messages AS text[]),
                CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                CAST(:timestamps AS bigint[]), CAST(:keys AS bytea[]), CAST(:values AS bytea[]),
                CAST(:sizes AS bigint[]), CAST(:hashes AS bytea[]), CAST(:headers AS bytea[])) AS i
    ON CONFLICT (source_topic, source_partition, source_offset, source_timestamp) WHERE replay_of IS NULL DO NOTHING
    RETURNING source_topic, source_partition, source_offset, source_timestamp
""")

_ADD_AGAIN = text("""
    INSERT INTO dead_letters
        (batch_id, reason, message, source_topic, source_partition, source_offset, source_timestamp, key, value,
         value_size, value_sha256, headers, created_at, replay_of)
    SELECT i.*, clock_timestamp(), first.id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:reasons AS text[]), CAST(:messages AS text[]),
                CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                CAST(:timestamps AS bigint[]), CAST(:keys AS bytea[]), CAST(:values AS bytea[]),
                CAST(:sizes AS bigint[]), CAST(:hashes AS bytea[]), CAST(:headers AS bytea[]))
         AS i (batch_id, reason, message, topic, partition, record_offset, record_timestamp, key, value, size, hash,
               headers)
    JOIN dead_letters first
        ON first.source_topic = i.topic AND first.source_partition = i.partition
       AND first.source_offset = i.record_offset AND first.source_timestamp = i.record_timestamp
       AND first.replay_of IS NULL
    CROSS JOIN LATERAL (
        SELECT d.state FROM dead_letters d WHERE d.id = first.id OR d.replay_of = first.id ORDER BY d.id DESC LIMIT 1
    ) last
    WHERE last.state = 'replayed'
""")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record with the reason for which it can't be applied; `batch_id` where it could be read that far."""

    record: RawRecord
    batch_id: str | None
    reason: DeadLetterReason
    message: str

    @property
    def source(self) -> Source:
        record = self.record
        return record.topic, record.partition, record.offset, record.timestamp


async def add(conn: AsyncConnection, letters: Sequence[DeadLetter]) -> set[Source]:
    """Keep these, one per place; returns the places of those that were never buried before, which are to be told.

    A record that was replayed gets a letter linked to its first. NUL is legal in bytes, not in a batch id. The rows of
    their batches are locked.
    """
    # In one order for all: two who bury the same records would wait for each other.
    letters = sorted(letters, key=lambda letter: letter.source)
    rows = await conn.execute(_ADD, _columns(letters))
    new = {(row[0], row[1], row[2], row[3]) for row in rows}
    if again := [letter for letter in letters if letter.source not in new]:
        await conn.execute(_ADD_AGAIN, _columns(again))
    return new


def _columns(letters: Sequence[DeadLetter]) -> dict[str, object]:
    records = [letter.record for letter in letters]
    values = [record.value or b"" for record in records]
    return {
        "batch_ids": [letter.batch_id for letter in letters],
        "reasons": [letter.reason.value for letter in letters],
        "messages": [letter.message for letter in letters],
        "topics": [record.topic for record in records],
        "partitions": [record.partition for record in records],
        "offsets": [record.offset for record in records],
        "timestamps": [record.timestamp for record in records],
        "keys": [record.key for record in records],
        "values": [record.value for record in records],
        "sizes": [len(value) for value in values],
        "hashes": [hashlib.sha256(value).digest() for value in values],
        "headers": [encode_headers(record.headers) for record in records],
    }
