"""The events of the outbox for tests: as values, and as rows of a temporary table for queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.queries import outbox_exceptions, outbox_segments
from els_stream.queries.outbox_rows import WaitingRow

_EXCEPTIONS = text("""
    SELECT shard, order_key, event_id, topic, key, value, headers, attempts, input_timestamp_low31, sequence
    FROM event_outbox ORDER BY position
""")
_MAKE = (
    text("DROP TABLE IF EXISTS unsent_events"),
    text("CREATE TEMPORARY TABLE unsent_events (LIKE event_outbox) ON COMMIT DROP"),
)
_FILL = text("""
    INSERT INTO unsent_events (position, shard, order_key, event_id, topic, key, value, headers, attempts,
                               input_timestamp_low31, sequence, created_at)
    VALUES (:position, :shard, :order_key, :event_id, :topic, :key, :value, :headers, :attempts,
            :input_timestamp_low31, :sequence, now())
""")
_UNSENT: Final = """
    WITH unsent_events AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:order_keys AS text[]), CAST(:sequences AS bigint[]), CAST(:topics AS text[]),
                             CAST(:event_ids AS uuid[])) AS u (order_key, sequence, topic, event_id)
    )
"""
NO_DELAY: Final = timedelta(0)
_EMPTY = (text("DELETE FROM outbox_segments"), text("DELETE FROM event_outbox"))


async def unsent_events(conn: AsyncConnection, shards: Collection[int] | None = None) -> list[WaitingRow]:
    """Return all events that wait: exceptions first, then those of segments as they were written."""
    exceptions = [WaitingRow._make(row) for row in await conn.execute(_EXCEPTIONS)]
    segments = sorted(await outbox_segments.read_all(conn), key=lambda stored: stored.segment.position)
    events = exceptions + [row for stored in segments for row in stored.segment.rows]
    return events if shards is None else [row for row in events if row.shard in shards]


async def list_unsent(conn: AsyncConnection) -> None:
    """Make the table `unsent_events` for the rest of the transaction, with the columns of `event_outbox`."""
    for statement in _MAKE:
        await conn.execute(statement)
    events = await unsent_events(conn)
    if events:
        rows = [{**row._asdict(), "position": number} for number, row in enumerate(events)]
        await conn.execute(_FILL, rows)


async def empty_outbox(conn: AsyncConnection) -> None:
    """Delete all events, as if they had been sent."""
    for statement in _EMPTY:
        await conn.execute(statement)


async def move_all_aside(conn: AsyncConnection) -> None:
    """Make an exception of every event, without an attempt."""
    await remove_events(conn, [])


async def remove_events(conn: AsyncConnection, sent: Sequence[WaitingRow]) -> None:
    """Remove single events, as a relay does that moves the others of their segments aside."""
    ids = {row.event_id for row in sent}
    segments = [stored.segment for stored in await outbox_segments.read_all(conn)]
    left = [
        outbox_segments.MovedRow(segment.position, row)
        for segment in segments
        for row in segment.rows
        if row.event_id not in ids
    ]
    await outbox_segments.move_aside(conn, segments, left, NO_DELAY)
    if sent:
        await outbox_exceptions.delete(conn, sent)


async def query_unsent(conn: AsyncConnection, sql: str, parameters: Mapping[str, object]) -> Sequence[Row[Any]]:
    """Run a query over `unsent_events`, with order_key, sequence, topic and event_id."""
    events = await unsent_events(conn)
    columns = {
        "order_keys": [one.order_key for one in events],
        "sequences": [one.sequence for one in events],
        "topics": [one.topic for one in events],
        "event_ids": [one.event_id for one in events],
    }
    return (await conn.execute(text(_UNSENT + sql), {**parameters, **columns})).all()
