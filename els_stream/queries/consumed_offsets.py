"""`consumed_offsets`: the next offset of each partition, stored in the transaction that processed the records.

A row advances only by compare-and-set on the offset that its writer saw, so two owners of one partition cannot both
advance it. Topics have the broker's names, with the prefix.

`advance` locks the rows of a micro-batch in the order of its plan. So whoever changes rows beside it must not wait for
one row while it has another locked, or both could wait for each other: `reset` and `adopt_topic_ids` are called for
one partition at a time, outside of any transaction.

By its key PostgreSQL finds a row after passing each older version that any snapshot of the server may still read: tens
of thousands beside a long transaction. So a worker keeps where its last update put the row (`Places`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import starmap
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, StoredOffset, Watermark
from els_stream.queries.arrays import arrays

Place: TypeAlias = tuple[int, int]
"""Where a version of a row lies: block and item (`ctid`)."""

Places: TypeAlias = dict[Partition, tuple[Place, Place]]
"""The version of the row that this process updated last, and the one that it wrote.

Only a hint: the update may have been rolled back, or others may have changed the row since.
"""

_READ = text("""
    SELECT topic, partition, next_offset, record_timestamp, record_crc, topic_id, read_until
    FROM consumed_offsets JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS v (topic, partition)
        USING (topic, partition)
    WHERE consumer_group = :consumer_group
""")

_READ_ALL = text("SELECT topic, partition, next_offset FROM consumed_offsets WHERE consumer_group = :consumer_group")

_READ_UNTIL = text("""
    SELECT topic, partition, greatest(next_offset, read_until) FROM consumed_offsets
    WHERE consumer_group = :consumer_group
""")

_INITIALIZE = text("""
    INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset)
    SELECT :consumer_group, topic, partition, next_offset
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]))
        AS v (topic, partition, next_offset)
    ORDER BY topic, partition
    ON CONFLICT DO NOTHING
""")

_RESET = text("""
    UPDATE consumed_offsets AS c
    SET next_offset = v.beginning, record_timestamp = NULL, record_crc = NULL, watermark_at = NULL, topic_id = NULL,
        read_until = NULL, updated_at = now()
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:seen AS bigint[]),
                CAST(:beginnings AS bigint[])) AS v (topic, partition, seen, beginning)
    WHERE c.consumer_group = :consumer_group AND c.topic = v.topic AND c.partition = v.partition
        AND c.next_offset = v.seen
    RETURNING c.topic, c.partition
""")

_ADOPT_TOPIC_IDS = text("""
    UPDATE consumed_offsets AS c SET topic_id = v.topic_id
    FROM unnest(CAST(:topics AS text[]), CAST(:ids AS uuid[])) AS v (topic, topic_id)
    WHERE c.consumer_group = :consumer_group AND c.topic = v.topic AND c.topic_id IS NULL
        AND (c.topic, c.partition) IN (
            SELECT * FROM unnest(CAST(:of_topics AS text[]), CAST(:of_partitions AS int[])))
""")

# Always in the same order: otherwise two owners of the same partitions could deadlock.
_LOCK_WITH = """
    SELECT c.topic, c.partition FROM consumed_offsets AS c
    WHERE {found} AND c.consumer_group = :consumer_group AND (c.topic, c.partition) IN (
        SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])))
    ORDER BY c.topic, c.partition FOR UPDATE OF c
"""
_LOCK = text(_LOCK_WITH.replace("{found} AND ", ""))
_LOCK_AT = text(_LOCK_WITH.replace("{found}", "c.ctid = ANY (CAST(:places AS tid[]))"))

_ADVANCE_WITH = """
    UPDATE consumed_offsets AS c
    SET next_offset = v.stop, record_timestamp = v.record_timestamp, record_crc = v.crc, updated_at = now()
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:starts AS bigint[]),
                CAST(:stops AS bigint[]), CAST(:timestamps AS bigint[]), CAST(:crcs AS bigint[]),
                CAST(:places AS tid[]))
        AS v (topic, partition, start, stop, record_timestamp, crc, place)
    WHERE {found} AND c.consumer_group = :consumer_group AND c.topic = v.topic AND c.partition = v.partition
        AND c.next_offset = v.start
    RETURNING c.topic, c.partition, c.ctid
"""
_ADVANCE = text(_ADVANCE_WITH.replace("{found} AND ", ""))
_ADVANCE_AT = text(_ADVANCE_WITH.replace("{found}", "c.ctid = v.place"))

# A row may have advanced since; one that was reset stands lower.
_STORE_WATERMARKS_WITH = """
    WITH locked AS (
        SELECT c.topic, c.partition, v.watermark_at, v.read_until
        FROM consumed_offsets AS c
        JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                    CAST(:watermarks AS timestamptz[]), CAST(:read_until AS bigint[]))
            AS v (topic, partition, next_offset, watermark_at, read_until)
            USING (topic, partition)
        WHERE c.consumer_group = :consumer_group
            AND c.next_offset >= v.next_offset AND (c.watermark_at IS NULL OR c.watermark_at < v.watermark_at)
        FOR NO KEY UPDATE OF c {wait}
    )
    UPDATE consumed_offsets AS c
    SET watermark_at = locked.watermark_at, read_until = greatest(c.read_until, locked.read_until)
    FROM locked
    WHERE c.consumer_group = :consumer_group AND c.topic = locked.topic AND c.partition = locked.partition
    RETURNING c.topic, c.partition
"""
_STORE_WATERMARKS = text(_STORE_WATERMARKS_WITH.replace("{wait}", ""))
_STORE_FREE_WATERMARKS = text(_STORE_WATERMARKS_WITH.replace("{wait}", "SKIP LOCKED"))

_REMOVE_WATERMARKS_AHEAD = text("""
    UPDATE consumed_offsets SET watermark_at = NULL
    WHERE consumer_group = :consumer_group AND (topic, partition) IN (
        SELECT topic, partition FROM consumed_offsets
        WHERE consumer_group = :consumer_group AND watermark_at > clock_timestamp()
        FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING topic, partition
""")

_NOW = text("SELECT clock_timestamp()")


def partition_arrays(partitions: Collection[Partition]) -> dict[str, list[object]]:
    """Return the arrays `topics` and `partitions` that statements over partitions take."""
    return arrays(partitions, topics=lambda tp: tp.topic, partitions=lambda tp: tp.partition)


async def read(
    conn: AsyncConnection, consumer_group: str, partitions: Collection[Partition]
) -> dict[Partition, StoredOffset]:
    """Return the stored offsets; partitions without a row are left out."""
    rows = await conn.execute(_READ, {"consumer_group": consumer_group, **partition_arrays(partitions)})
    return {
        Partition(topic, partition): StoredOffset(
            next_offset, None if crc is None else RecordFingerprint(timestamp, crc), topic_id, read_until
        )
        for topic, partition, next_offset, timestamp, crc, topic_id, read_until in rows
    }


async def read_all(conn: AsyncConnection, consumer_group: str) -> dict[Partition, int]:
    """Return the next offsets of all partitions of the group."""
    rows = await conn.execute(_READ_ALL, {"consumer_group": consumer_group})
    return {Partition(topic, partition): next_offset for topic, partition, next_offset in rows}


async def read_until(conn: AsyncConnection, consumer_group: str) -> dict[Partition, int]:
    """Return the offsets up to which all partitions of the group have no unprocessed record."""
    rows = await conn.execute(_READ_UNTIL, {"consumer_group": consumer_group})
    return {Partition(topic, partition): offset for topic, partition, offset in rows}


async def initialize(conn: AsyncConnection, consumer_group: str, offsets: Mapping[Partition, int]) -> None:
    """Insert the first rows of partitions. A row that another worker inserted meanwhile stays: read them again."""
    params = {**partition_arrays(offsets.keys()), "offsets": list(offsets.values())}
    await conn.execute(_INITIALIZE, {"consumer_group": consumer_group, **params})


async def reset(
    conn: AsyncConnection, consumer_group: str, offsets: Mapping[Partition, tuple[int, int]]
) -> set[Partition]:
    """Move rows of recreated topics from the offset that the caller saw to the beginning of the log.

    `offsets` maps a partition to (seen, beginning). The id of the topic is unknown then, and is adopted. Returns the
    partitions that were reset.
    """
    params = {
        **partition_arrays(offsets.keys()),
        **arrays(offsets.values(), seen=lambda pair: pair[0], beginnings=lambda pair: pair[1]),
    }
    return set(starmap(Partition, await conn.execute(_RESET, {"consumer_group": consumer_group, **params})))


async def adopt_topic_ids(
    conn: AsyncConnection, consumer_group: str, partitions: Collection[Partition], topic_ids: Mapping[str, UUID]
) -> None:
    """Store the ids of their topics in rows without one."""
    params = {
        "topics": list(topic_ids),
        "ids": list(topic_ids.values()),
        "of_topics": [tp.topic for tp in partitions],
        "of_partitions": [tp.partition for tp in partitions],
    }
    await conn.execute(_ADOPT_TOPIC_IDS, {"consumer_group": consumer_group, **params})


async def lock(conn: AsyncConnection, consumer_group: str, ranges: Sequence[OffsetRange], places: Places) -> None:
    """Lock the rows of these partitions; waits for a transaction that is about to advance them.

    PostgreSQL sees this wait, so it detects deadlocks.
    """
    params = {"consumer_group": consumer_group, **partition_arrays([r.partition for r in ranges])}
    # Of the two versions the first can be read until the transaction that wrote the second commits.
    versions = [version for r in ranges for version in places.get(r.partition, ())]
    if versions:
        locked = await conn.execute(_LOCK_AT, {**params, "places": versions})
        if locked.rowcount == len(ranges):
            return
    await conn.execute(_LOCK, params)


async def advance(
    conn: AsyncConnection, consumer_group: str, ranges: Sequence[OffsetRange], places: Places | None = None
) -> int:
    """Advance the rows that are at the start of their range to its stop; return how many.

    Must be the last call of its transaction. If fewer rows advanced than there are ranges, the caller must roll
    back: another owner processed some of these records, or the previous micro-batch has not committed yet.
    `places` is read, and has the new versions afterwards.
    """
    places = {} if places is None else places
    placed = [r for r in ranges if r.partition in places]
    written = await _advance(conn, _ADVANCE_AT, consumer_group, placed, places) if placed else {}
    if others := [r for r in ranges if r.partition not in written]:
        written |= await _advance(conn, _ADVANCE, consumer_group, others, places)
    places |= {tp: (places[tp][1] if tp in places else place, place) for tp, place in written.items()}
    return len(written)


async def _advance(
    conn: AsyncConnection, statement: TextClause, consumer_group: str, ranges: Sequence[OffsetRange], places: Places
) -> dict[Partition, Place]:
    params = {
        **partition_arrays([r.partition for r in ranges]),
        "starts": [r.start for r in ranges],
        "stops": [r.stop for r in ranges],
        "timestamps": [r.fingerprint.timestamp for r in ranges],
        "crcs": [r.fingerprint.crc for r in ranges],
        "places": [places[r.partition][1] if r.partition in places else None for r in ranges],
    }
    rows = await conn.execute(statement, {"consumer_group": consumer_group, **params})
    return {Partition(topic, partition): place for topic, partition, place in rows}


async def database_time(conn: AsyncConnection) -> datetime:
    """Return the database's clock, not the start of the transaction."""
    time: datetime = (await conn.execute(_NOW)).scalar_one()
    return time


async def remove_watermarks_ahead(conn: AsyncConnection, consumer_group: str) -> set[Partition]:
    """Remove the group's watermarks that lie ahead of the database's clock, but for locked rows; return the partitions.

    They were stored while the clock was wrong. Once it passes them they would be taken for true.
    """
    return set(starmap(Partition, await conn.execute(_REMOVE_WATERMARKS_AHEAD, {"consumer_group": consumer_group})))


async def store_watermarks(
    conn: AsyncConnection, consumer_group: str, watermarks: Mapping[Partition, Watermark]
) -> None:
    """Store later watermarks, outside of any transaction: those of locked rows in a statement of their own each.

    A row below the offset of its watermark stays as it is: it was reset meanwhile.
    """
    stored = await conn.execute(_STORE_FREE_WATERMARKS, _watermark_arrays(consumer_group, watermarks))
    for tp in watermarks.keys() - set(starmap(Partition, stored)):
        await conn.execute(_STORE_WATERMARKS, _watermark_arrays(consumer_group, {tp: watermarks[tp]}))


def _watermark_arrays(consumer_group: str, watermarks: Mapping[Partition, Watermark]) -> dict[str, object]:
    return {
        "consumer_group": consumer_group,
        **partition_arrays(watermarks.keys()),
        **arrays(
            watermarks.values(),
            offsets=lambda w: w.next_offset,
            watermarks=lambda w: w.processed_until,
            read_until=lambda w: w.read_until,
        ),
    }
