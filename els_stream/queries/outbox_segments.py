"""The table of segments: what waits in the outbox, but for the exceptions (`outbox_exceptions`).

Writers append to a shard; a relay deletes a segment once each of its events was acked, or moves those that are left to
the exceptions in the same transaction. Per shard a relay deletes from the first segment on, in order, so that once the
last segment of a key is gone, nothing of the key waits in any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from els_stream.queries.arrays import arrays
from els_stream.queries.outbox_bounds import OutboxBounds
from els_stream.queries.outbox_exceptions import MAX_ERROR_CHARACTERS
from els_stream.queries.outbox_rows import to_waiting_row
from els_stream.queries.segment_codec import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import OutboxPosition
    from els_stream.queries.direct_publish import WrittenSegment
    from els_stream.queries.outbox_rows import WaitingRow

# A fetch starts where no segment can commit late any more. The numbers and sizes are added up before payloads are read.
# `exceptions` is there also without segments.
_FETCH = text("""
    SELECT (SELECT true FROM event_outbox LIMIT 1) AS exceptions,
           CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest_running,
           found.shard, found.position, found.payload
    FROM (VALUES (1)) AS one
    LEFT JOIN (
        SELECT o.*, sum(o.events) OVER (ROWS UNBOUNDED PRECEDING) - o.events AS events_before,
               sum(o.size) OVER (ROWS UNBOUNDED PRECEDING) - o.size AS bytes_before
        FROM (
            SELECT waiting.*
            FROM unnest(CAST(:shards AS smallint[]), CAST(:bounds AS bigint[])) AS s (shard, bound)
            CROSS JOIN LATERAL (
                SELECT e.shard, e.position, e.events, e.size, e.payload FROM outbox_segments e
                WHERE e.shard = s.shard AND e.position > s.bound ORDER BY e.position LIMIT :segments
            ) waiting
            LIMIT :segments
        ) o
    ) found ON found.events_before < :events AND found.bytes_before < :bytes
""")

# One index probe per segment: after a vacuum that found the table empty, the planner expects one row in it.
_FIND = """
    SELECT (SELECT s.ctid FROM outbox_segments s WHERE s.shard = i.shard AND s.position = i.position)
    FROM unnest(CAST(:gone_shards AS smallint[]), CAST(:gone_positions AS bigint[])) AS i (shard, position)
"""
_DELETE = text("DELETE FROM outbox_segments WHERE ctid = ANY (ARRAY({find}))".replace("{find}", _FIND))

# Events of a segment that another relay has finished meanwhile are not moved. Positions are assigned after the sort.
_MOVE_ASIDE = text(
    """
    WITH gone AS (
        DELETE FROM outbox_segments WHERE ctid = ANY (ARRAY({find})) RETURNING shard, position, created_at
    )
    INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, key, value, headers, input_timestamp_low31,
                              created_at, attempts, last_error, next_attempt_at)
    SELECT i.order_key, i.event_id,
           coalesce((SELECT e.shard FROM event_outbox e WHERE e.order_key = i.order_key LIMIT 1), i.shard),
           i.sequence, i.topic, i.key, i.value, i.headers, i.input_timestamp_low31, gone.created_at,
           CAST(i.error IS NOT NULL AS int), i.error,
           CASE WHEN i.error IS NOT NULL THEN now() + CAST(:delay AS interval) END
    FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[]), CAST(:shards AS smallint[]),
                CAST(:positions AS bigint[]), CAST(:sequences AS bigint[]), CAST(:topics AS text[]),
                CAST(:record_keys AS bytea[]), CAST(:values AS bytea[]), CAST(:headers AS bytea[]),
                CAST(:input_timestamps AS int[]), CAST(:errors AS text[]))
         AS i (order_key, event_id, shard, position, sequence, topic, key, value, headers, input_timestamp_low31, error)
    JOIN gone ON gone.shard = i.shard AND gone.position = i.position
    ORDER BY i.sequence
    ON CONFLICT (order_key, event_id) DO NOTHING
""".replace("{find}", _FIND)
)

_READ = text("""
    SELECT shard, position, payload, created_at FROM outbox_segments
    WHERE shard = :shard AND position <= :position ORDER BY position
""")
_READ_ALL = text("SELECT shard, position, payload, created_at FROM outbox_segments ORDER BY shard, position")
_MAX_SEGMENTS = 500


class Segment(NamedTuple):
    """A segment that waits, with its events."""

    shard: int
    position: int
    rows: Sequence[WaitingRow]

    @property
    def bytes(self) -> int:
        """The size of the values and headers."""
        return sum(len(row.value or b"") + len(row.headers) for row in self.rows)


@dataclass(frozen=True, slots=True)
class MovedRow:
    """An event of a segment that becomes an exception; `error` is None if it waits for an earlier one of its key."""

    position: int
    row: WaitingRow
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as readers see it."""

    segment: Segment
    created_at: datetime


async def fetch(conn: AsyncConnection, shards: Sequence[int], *, events: int, size: int) -> tuple[list[Segment], bool]:
    """Return the first segments of these shards, those of each shard in order, and whether there are any exceptions.

    About `events` events and `size` bytes, but at least one segment. Shards that come first are served first, so
    callers rotate them. The connection is outside of any transaction.
    """
    bounds = OutboxBounds.of(conn)
    parameters = {
        "shards": list(shards),
        "bounds": [bounds[shard] for shard in shards],
        "events": events,
        "bytes": size,
        "segments": _MAX_SEGMENTS,
    }
    found = (await conn.execute(_FETCH, parameters)).all()
    segments = [
        Segment(row.shard, row.position, decode(row.payload, row.shard)) for row in found if row.shard is not None
    ]
    # The shards behind the last one of which it returns segments may be cut off by a limit.
    scanned = shards[: shards.index(segments[-1].shard) + 1] if segments else shards
    first = {segment.shard: segment.position for segment in reversed(segments)}
    bounds.note(scanned, first, found[0].oldest_running)
    await bounds.mark(conn)
    return segments, bool(found[0].exceptions)


async def delete(conn: AsyncConnection, segments: Sequence[Segment]) -> None:
    """Delete segments whose events were all acked; a segment that is gone already is no error."""
    await conn.execute(_DELETE, _gone(segments))


async def move_aside(
    conn: AsyncConnection, segments: Sequence[Segment], left: Sequence[MovedRow], delay: timedelta
) -> None:
    """Delete segments, and add their events that are left to the exceptions, the failed ones with a delay.

    If another relay has deleted a segment, none of its events are added.
    """
    parameters = arrays(
        left,
        order_keys=lambda one: one.row.order_key,
        event_ids=lambda one: one.row.event_id,
        shards=lambda one: one.row.shard,
        positions=lambda one: one.position,
        sequences=lambda one: one.row.sequence,
        topics=lambda one: one.row.topic,
        record_keys=lambda one: one.row.key,
        values=lambda one: one.row.value,
        headers=lambda one: one.row.headers,
        input_timestamps=lambda one: one.row.input_timestamp_low31,
        errors=lambda one: None if one.error is None else one.error[:MAX_ERROR_CHARACTERS],
    )
    await conn.execute(_MOVE_ASIDE, {**parameters, **_gone(segments), "delay": delay})


async def read_up_to(conn: AsyncConnection, last: OutboxPosition) -> list[StoredSegment]:
    """Return the segments of a shard up to a position, inclusive, in order."""
    return _stored(await conn.execute(_READ, {"shard": last.shard, "position": last.position}))


async def read_all(conn: AsyncConnection) -> list[StoredSegment]:
    """Return all segments, those of each shard in order."""
    return _stored(await conn.execute(_READ_ALL))


def to_segment(written: WrittenSegment) -> Segment:
    """Return a segment of this process as a fetch would return it just after it was written."""
    rows = [to_waiting_row(row, written.shard) for row in written.rows]
    return Segment(written.shard, written.position, rows)


def _stored(found: Iterable[Row[Any]]) -> list[StoredSegment]:
    return [
        StoredSegment(Segment(row.shard, row.position, decode(row.payload, row.shard)), row.created_at) for row in found
    ]


def _gone(segments: Sequence[Segment]) -> dict[str, list[object]]:
    return arrays(segments, gone_shards=lambda one: one.shard, gone_positions=lambda one: one.position)
