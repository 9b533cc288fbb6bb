"""`consumed_offsets`, the ledger: what was handled, said in the same transaction as the effects.

It only ever moves by compare-and-set on what its writer saw, so two owners of one partition cannot both move it.
Topics stand in it as the broker knows them, with the prefix of an environment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import starmap

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, StoredOffset

READ = text("""
    SELECT topic, partition, next_offset, record_timestamp, record_crc
    FROM consumed_offsets JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS v (topic, partition)
        USING (topic, partition)
    WHERE consumer_group = :consumer_group
""")

ADOPT = text("""
    INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset)
    SELECT :consumer_group, topic, partition, next_offset
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]))
        AS v (topic, partition, next_offset)
    ORDER BY topic, partition
    ON CONFLICT DO NOTHING
""")

RESTART = text("""
    UPDATE consumed_offsets AS c
    SET next_offset = v.beginning, record_timestamp = NULL, record_crc = NULL, watermark_at = NULL, updated_at = now()
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:seen AS bigint[]),
                CAST(:beginnings AS bigint[])) AS v (topic, partition, seen, beginning)
    WHERE c.consumer_group = :consumer_group AND c.topic = v.topic AND c.partition = v.partition
        AND c.next_offset = v.seen
    RETURNING c.topic, c.partition
""")

# One order for all, or two owners of the same partitions lock each other out.
LOCK = text("""
    SELECT 1 FROM consumed_offsets AS c
    WHERE c.consumer_group = :consumer_group AND (c.topic, c.partition) IN (
        SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])))
    ORDER BY c.topic, c.partition FOR UPDATE OF c
""")

ADVANCE = text("""
    UPDATE consumed_offsets AS c
    SET next_offset = v.hi, record_timestamp = v.stamp, record_crc = v.crc, updated_at = now()
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:los AS bigint[]), CAST(:his AS bigint[]),
                CAST(:stamps AS bigint[]), CAST(:crcs AS bigint[])) AS v (topic, partition, lo, hi, stamp, crc)
    WHERE c.consumer_group = :consumer_group AND c.topic = v.topic AND c.partition = v.partition
        AND c.next_offset = v.lo
""")

NOTE_CAUGHT_UP = text("""
    UPDATE consumed_offsets AS c SET watermark_at = :read_at
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]))
        AS v (topic, partition, next_offset)
    WHERE c.consumer_group = :consumer_group AND c.topic = v.topic AND c.partition = v.partition
        AND c.next_offset = v.next_offset AND (c.watermark_at IS NULL OR c.watermark_at < :read_at)
""")

NOW = text("SELECT clock_timestamp()")


def _names(partitions: Collection[Partition]) -> dict[str, object]:
    return {"topics": [tp.topic for tp in partitions], "partitions": [tp.partition for tp in partitions]}


async def read(
    conn: AsyncConnection, consumer_group: str, partitions: Collection[Partition]
) -> dict[Partition, StoredOffset]:
    """Partitions that nobody has adopted yet are missing from the answer."""
    rows = await conn.execute(READ, {"consumer_group": consumer_group, **_names(partitions)})
    return {
        Partition(topic, partition): StoredOffset(next_offset, None if crc is None else RecordFingerprint(stamp, crc))
        for topic, partition, next_offset, stamp, crc in rows
    }


async def adopt(conn: AsyncConnection, consumer_group: str, offsets: Mapping[Partition, int]) -> None:
    """First rows for partitions; a row that another worker made meanwhile stays as it is, so read again."""
    await conn.execute(
        ADOPT, {"consumer_group": consumer_group, **_names(offsets.keys()), "offsets": list(offsets.values())}
    )


async def restart(
    conn: AsyncConnection, consumer_group: str, lost: Mapping[Partition, tuple[int, int]]
) -> set[Partition]:
    """For topics made anew: from the offset that was seen to the beginning. Returns the partitions that moved."""
    rows = await conn.execute(
        RESTART,
        {
            "consumer_group": consumer_group,
            **_names(lost.keys()),
            "seen": [seen for seen, _ in lost.values()],
            "beginnings": [beginning for _, beginning in lost.values()],
        },
    )
    return set(starmap(Partition, rows))


async def lock(conn: AsyncConnection, consumer_group: str, spans: Sequence[OffsetRange]) -> None:
    """Waits, where PostgreSQL can see it, for whoever is about to move the same rows."""
    partitions = [span.partition for span in spans]
    await conn.execute(LOCK, {"consumer_group": consumer_group, **_names(partitions)})


async def advance(conn: AsyncConnection, consumer_group: str, spans: Sequence[OffsetRange]) -> int:
    """The compare-and-set; to be the last statement of its transaction.

    Returns how many rows moved. With fewer than there are spans the caller must roll back: someone else handled some of
    these records, or a predecessor has not committed yet.
    """
    result = await conn.execute(
        ADVANCE,
        {
            "consumer_group": consumer_group,
            **_names([span.partition for span in spans]),
            "los": [span.lo for span in spans],
            "his": [span.hi for span in spans],
            "stamps": [span.mark.timestamp for span in spans],
            "crcs": [span.mark.crc for span in spans],
        },
    )
    return result.rowcount


async def database_time(conn: AsyncConnection) -> datetime:
    time: datetime = (await conn.execute(NOW)).scalar_one()
    return time


async def note_caught_up(
    conn: AsyncConnection, consumer_group: str, offsets: Mapping[Partition, int], read_at: datetime
) -> None:
    """Says that everything which lay in Kafka at `read_at` (the database's clock) is handled.

    Only for rows that still stand at the offset the caller saw as its end.
    """
    await conn.execute(
        NOTE_CAUGHT_UP,
        {
            "consumer_group": consumer_group,
            **_names(offsets.keys()),
            "offsets": list(offsets.values()),
            "read_at": read_at,
        },
    )
