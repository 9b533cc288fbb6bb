"""`skipped_offsets`: offsets that were never read, one audit row per range.

An operator gave them up because nothing can read them, or Kafka deleted them before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.kafka.offsets import Partition

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

# The record before the new offset is unknown, so the next start has nothing to verify.
_MOVE = text("""
    UPDATE consumed_offsets
    SET next_offset = :last_offset + 1, record_timestamp = NULL, record_crc = NULL, updated_at = now()
    WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition
        AND next_offset = :first_offset
""")
_ADD = text("""
    INSERT INTO skipped_offsets (consumer_group, topic, partition, first_offset, last_offset, note, skipped_by)
    VALUES (:consumer_group, :topic, :partition, :first_offset, :last_offset, :note, :skipped_by)
""")
# A worker that restarts before it processed another record finds the range again; the log may begin later by then.
_RECORD = text("""
    WITH known AS (
        UPDATE skipped_offsets SET last_offset = greatest(last_offset, :last_offset)
        WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition
            AND first_offset = :first_offset AND skipped_by = :skipped_by
        RETURNING 1
    )
    INSERT INTO skipped_offsets (consumer_group, topic, partition, first_offset, last_offset, note, skipped_by)
    SELECT :consumer_group, :topic, :partition, :first_offset, :last_offset, :note, :skipped_by
    WHERE NOT EXISTS (SELECT FROM known)
""")
_READ = text("""
    SELECT topic, partition, first_offset, last_offset, note, skipped_by, skipped_at FROM skipped_offsets
    WHERE consumer_group = :consumer_group ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class SkippedOffsets:
    """The offsets from `first` to `last`, both inclusive."""

    partition: Partition
    first: int
    last: int
    note: str
    skipped_by: str
    skipped_at: datetime | None = None

    def __str__(self) -> str:
        when = "" if self.skipped_at is None else f" at {self.skipped_at:%Y-%m-%d %H:%M:%S%z}"
        by = f"{self.skipped_by}{when}"
        return f"{self.partition}: offsets {self.first} to {self.last} were skipped by {by}: {self.note}"


async def skip(conn: AsyncConnection, consumer_group: str, skipped: SkippedOffsets) -> bool:
    """Move the stored offset over the range and add its audit row; return false if it is not at the first offset."""
    params = _parameters(consumer_group, skipped)
    move = {name: value for name, value in params.items() if name not in {"note", "skipped_by"}}
    if (await conn.execute(_MOVE, move)).rowcount != 1:
        return False
    await conn.execute(_ADD, params)
    return True


async def record(conn: AsyncConnection, consumer_group: str, skipped: SkippedOffsets) -> None:
    """Add the audit row of a range, or extend the one that begins at the same offset. Moves no stored offset."""
    await conn.execute(_RECORD, _parameters(consumer_group, skipped))


def _parameters(consumer_group: str, skipped: SkippedOffsets) -> dict[str, object]:
    return {
        "consumer_group": consumer_group,
        "topic": skipped.partition.topic,
        "partition": skipped.partition.partition,
        "first_offset": skipped.first,
        "last_offset": skipped.last,
        "note": skipped.note,
        "skipped_by": skipped.skipped_by,
    }


async def read_all(conn: AsyncConnection, consumer_group: str) -> list[SkippedOffsets]:
    """Return all ranges of the group, in the order in which they were skipped."""
    rows = await conn.execute(_READ, {"consumer_group": consumer_group})
    return [SkippedOffsets(Partition(row.topic, row.partition), *row[2:]) for row in rows]
