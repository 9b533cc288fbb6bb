"""The outbox: rows go in with the facts they tell, and leave after the broker's ack.

Per order key, positions ascend with sequences and commit in that order, since a writer holds the key's tracker row from
the first position it takes until its commit; and a key's rows wait in one shard, since a writer puts new ones to those
that wait. So whatever a snapshot sees of one key in its shard has no gap before its last row, and order rests on that
alone; positions of different keys commit in any order and mean nothing.

A key of which nothing waits has nothing unsent either: a row is deleted after the broker's ack only. That is how a
writer knows that it may send its own rows first (see `handover`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from els_stream.errors import OutboxConflict
from els_stream.fast_dataclass import fast_dataclass
from els_stream.queries.direct_publish import handover_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.outbound_event import OutboundEvent

# Where rows wait to be fetched: those of a key by its hash; and those that their writer sends, in a shard of its own.
HASHED: Final = 64
SHARES: Final = HASHED + 32
CHANNEL: Final = "els_outbox"

# Positions are drawn after the sort: of one key they ascend with the sequence, however the caller ordered the rows. The
# shards of the keys stand in an array without nulls, so that to pick one is to index it. One NOTIFY per statement;
# PostgreSQL folds equal ones of a transaction and sends them after the commit only.
_PUT = text("""
    WITH keys AS MATERIALIZED (
        SELECT array_agg(coalesce(waiting.shard, k.shard) ORDER BY k.number) AS shards,
               array_agg(waiting.shard IS NULL ORDER BY k.number) AS free,
               count(waiting.shard) AS waiting
        FROM unnest(CAST(:keys AS text[]), CAST(:shards AS smallint[])) WITH ORDINALITY AS k (order_key, shard, number)
        LEFT JOIN LATERAL (SELECT e.shard FROM event_outbox e WHERE e.order_key = k.order_key LIMIT 1) waiting ON true
    ), written AS (
        INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, key, value, headers,
                                  input_timestamp_low31)
        SELECT i.order_key, i.event_id, (SELECT shards FROM keys)[i.key_number], i.sequence, i.topic, i.key, i.value,
               i.headers, i.input_timestamp_low31
        FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[]), CAST(:key_numbers AS int[]),
                    CAST(:sequences AS bigint[]), CAST(:topics AS text[]), CAST(:record_keys AS bytea[]),
                    CAST(:values AS bytea[]), CAST(:headers AS bytea[]), CAST(:input_timestamp_low31 AS int[]))
             AS i (order_key, event_id, key_number, sequence, topic, key, value, headers, input_timestamp_low31)
        ORDER BY i.sequence
    )
    SELECT free, CASE WHEN waiting > 0 OR NOT CAST(:handed_over AS bool) THEN pg_notify(:channel, '') END FROM keys
""")

_FETCH = text("""
    SELECT shard, order_key, event_id, topic, key, value, headers, attempts, input_timestamp_low31
    FROM (
        -- The sizes are added up before the values are read: 16 MiB times the row limit would not fit into memory.
        SELECT o.*, sum(o.size) OVER (ROWS UNBOUNDED PRECEDING) - o.size AS bytes_before
        FROM (
            SELECT waiting.*, coalesce(octet_length(waiting.value), 0) + octet_length(waiting.headers) AS size
            FROM unnest(CAST(:shards AS smallint[])) AS s (shard)
            CROSS JOIN LATERAL (
                -- It begins at the first row each time: one that commits late must not be passed by. The engine of the
                -- relay reads without bitmaps: from one, all of the shard would be read and sorted where statistics
                -- are of a time when it was empty, 50 000 rows for a thousand.
                SELECT e.* FROM event_outbox e
                WHERE e.shard = s.shard
                -- A held row holds back its key; while none is held, which is asked once, no key is probed. As a scalar
                -- sub-select it stays one probe of the partial index per row; an anti-join, planned while no row was
                -- held, would scan all held rows for each.
                AND ((SELECT true FROM event_outbox WHERE next_attempt_at IS NOT NULL LIMIT 1) IS NULL
                     OR (SELECT true FROM event_outbox h
                         WHERE h.order_key = e.order_key AND h.next_attempt_at > now() LIMIT 1) IS NULL)
                ORDER BY e.position
                LIMIT :rows
            ) waiting
            LIMIT :rows
        ) o
    ) sized
    WHERE bytes_before < :bytes
""")

# By key: a range of positions would take rows that committed since, unsent. And by one probe per key, whatever the
# statistics say: a vacuum that finds the outbox empty, as it mostly is, has the planner expect one row in it from then
# on, and a join would read all of the outbox, and the whole arrays for each row of it: 9 s for 1000 of 20 000.
_DELETE = text("""
    DELETE FROM event_outbox
    WHERE ctid = ANY (ARRAY(
        SELECT (SELECT e.ctid FROM event_outbox e WHERE e.order_key = i.order_key AND e.event_id = i.event_id)
        FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[])) AS i (order_key, event_id)))
""")

_HOLD = text("""
    UPDATE event_outbox
    SET attempts = attempts + 1,
        last_error = (CAST(:errors AS text[]))[array_position(CAST(:event_ids AS uuid[]), event_id)],
        -- The exponent is capped: a row that is held for months must not overflow the interval.
        next_attempt_at = now()
            + least(CAST(:longest AS interval), CAST(:shortest AS interval) * 2 ^ least(attempts, 20))
    WHERE ctid = ANY (ARRAY(
        SELECT (SELECT e.ctid FROM event_outbox e WHERE e.order_key = i.order_key AND e.event_id = i.event_id)
        FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[])) AS i (order_key, event_id)))
""")

_ERROR_CHARACTERS: Final = 500


@fast_dataclass
class OutboxRow:
    """`sequence` ascends per order key and is drawn under the lock that orders the key's facts.

    `input_timestamp_low31` is the truncated timestamp of the record that caused the event, None for a timer's event.
    """

    order_key: str
    sequence: int
    event: OutboundEvent
    input_timestamp_low31: int | None = None


class WaitingRow(NamedTuple):
    """A row as the relay sends it; `topic` is the logical name, `headers` are as stored.

    A tuple, since one is made for every event that leaves.
    """

    shard: int
    order_key: str
    event_id: UUID
    topic: str
    key: bytes | None
    value: bytes | None
    headers: bytes
    attempts: int
    input_timestamp_low31: int | None = None


@dataclass(frozen=True, slots=True)
class FailedRow:
    row: WaitingRow
    error: str


def share_of(order_key: str) -> int:
    """The shard in which an order key's rows wait to be fetched, the same in every process and release."""
    return zlib.crc32(order_key.encode()) % HASHED


def as_fetched(row: OutboxRow, shard: int) -> WaitingRow:
    """What a fetch of that shard would give for a row that was put just now."""
    event = row.event
    return WaitingRow(
        shard,
        row.order_key,
        event.event_id,
        event.topic,
        event.key,
        event.value,
        event.stored_headers,
        0,
        row.input_timestamp_low31,
    )


async def put(conn: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """One statement for any number of rows; who sends them hears of them when the caller commits.

    That is a relay, or this process where the connection hands over. An event id that the key's outbox already holds
    raises OutboxConflict, with equal bytes too, and leaves the transaction aborted: callers recognise repeats by the
    facts, before they come here.
    """
    if not rows:
        return
    handover = handover_of(conn)
    numbers: dict[str, int] = {}
    key_numbers = [numbers.setdefault(row.order_key, len(numbers) + 1) for row in rows]
    events = [row.event for row in rows]
    parameters = {
        "channel": CHANNEL,
        "handed_over": handover is not None,
        "keys": list(numbers),
        "shards": [share_of(key) if handover is None else handover.shard for key in numbers],
        "key_numbers": key_numbers,
        "order_keys": [row.order_key for row in rows],
        "event_ids": [event.event_id for event in events],
        "sequences": [row.sequence for row in rows],
        "topics": [event.topic for event in events],
        "record_keys": [event.key for event in events],
        "values": [event.value for event in events],
        "headers": [event.stored_headers for event in events],
        "input_timestamp_low31": [row.input_timestamp_low31 for row in rows],
    }
    try:
        free = (await conn.execute(_PUT, parameters)).one().free
    except IntegrityError as error:
        cause = error.orig.__cause__ if error.orig else None
        if getattr(cause, "constraint_name", None) == "pk_event_outbox":
            raise OutboxConflict("an event id was written to the outbox a second time") from error
        raise
    if handover is not None:
        handover.rows += [row for row, number in zip(rows, key_numbers, strict=True) if free[number - 1]]


async def fetch(conn: AsyncConnection, shards: Sequence[int], *, rows: int, size: int) -> list[WaitingRow]:
    """What may be sent now of these shards, each shard's rows in order, at most `rows` and about `size` bytes.

    Shards named first are served first, so callers rotate them. Keys with a held row are left out until it is due;
    then it is the first of its key again. One row comes whatever its size.
    """
    found = await conn.execute(_FETCH, {"shards": list(shards), "rows": rows, "bytes": size})
    return [WaitingRow._make(row) for row in found.all()]


async def delete(conn: AsyncConnection, rows: Iterable[WaitingRow]) -> None:
    """Only for rows that the broker has acked; a row that is gone already is no error."""
    keys = [(row.order_key, row.event_id) for row in rows]
    await conn.execute(_DELETE, {"order_keys": [key for key, _ in keys], "event_ids": [id_ for _, id_ in keys]})


async def hold(conn: AsyncConnection, held: Sequence[FailedRow], *, shortest: timedelta, longest: timedelta) -> None:
    """Sets rows aside, twice as long at each attempt; the rows behind them of the same key wait too."""
    parameters = {
        "order_keys": [one.row.order_key for one in held],
        "event_ids": [one.row.event_id for one in held],
        "errors": [one.error[:_ERROR_CHARACTERS] for one in held],
        "shortest": shortest,
        "longest": longest,
    }
    await conn.execute(_HOLD, parameters)
