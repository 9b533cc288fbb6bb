"""Events that are rows of `event_outbox`: those that could not be sent, later ones of their keys, and old ones.

Old ones were written before there were segments. Per order key, positions ascend with sequences: a writer holds the
lock on the key's tracker row, and the relay moves the events of a key from its segments in order. All rows of a key are
in one shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from els_stream.errors import OutboxConflict
from els_stream.queries.arrays import arrays
from els_stream.queries.outbox_rows import WaitingRow, shard_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.outbox_rows import FailedRow, OutboxRow

# Positions are assigned after the sort: within a key they ascend with the sequence, whatever the order of the rows in
# the call.
_ADD = text("""
    INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, key, value, headers, input_timestamp_low31)
    SELECT i.order_key, i.event_id,
           coalesce((SELECT e.shard FROM event_outbox e WHERE e.order_key = i.order_key LIMIT 1), i.shard),
           i.sequence, i.topic, i.key, i.value, i.headers, i.input_timestamp_low31
    FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[]), CAST(:shards AS smallint[]),
                CAST(:sequences AS bigint[]), CAST(:topics AS text[]), CAST(:record_keys AS bytea[]),
                CAST(:values AS bytea[]), CAST(:headers AS bytea[]), CAST(:input_timestamps AS int[]))
         AS i (order_key, event_id, shard, sequence, topic, key, value, headers, input_timestamp_low31)
    ORDER BY i.sequence
""")

# One index probe per key; none while the table is empty.
_KEYS_WITH_ROWS = text("""
    SELECT i.order_key FROM unnest(CAST(:order_keys AS text[])) AS i (order_key)
    WHERE (SELECT true FROM event_outbox e WHERE e.order_key = i.order_key LIMIT 1)
""")

_FETCH = text("""
    SELECT shard, order_key, event_id, topic, key, value, headers, attempts, input_timestamp_low31, sequence
    FROM (
        -- The sizes are added up before the values are read: 16 MiB times the row limit would not fit into memory.
        SELECT o.*, sum(o.size) OVER (ROWS UNBOUNDED PRECEDING) - o.size AS bytes_before
        FROM (
            SELECT waiting.*, coalesce(octet_length(waiting.value), 0) + octet_length(waiting.headers) AS size
            FROM unnest(CAST(:shards AS smallint[])) AS s (shard)
            CROSS JOIN LATERAL (
                -- Each fetch starts at the first row, so that it finds rows that committed late. The relay's engine
                -- disables bitmap scans: if the statistics were gathered while the shard was empty, such a scan would
                -- read and sort the whole shard, 50 000 rows for a thousand.
                SELECT e.* FROM event_outbox e
                WHERE e.shard = s.shard
                -- A deferred row blocks its key. One sub-select asks whether any row is deferred; if none is, no key
                -- is probed. Else a scalar sub-select probes the partial index once per row; an anti-join that was
                -- planned while no row was deferred would scan all deferred rows for each row.
                AND ((SELECT true FROM event_outbox WHERE next_attempt_at IS NOT NULL LIMIT 1) IS NULL
                     OR (SELECT true FROM event_outbox h
                         WHERE h.order_key = e.order_key AND h.next_attempt_at > now()
                           AND h.next_attempt_at <= now() + make_interval(secs => :max_delay) LIMIT 1) IS NULL)
                ORDER BY e.position
                LIMIT :rows
            ) waiting
            LIMIT :rows
        ) o
    ) sized
    WHERE bytes_before < :bytes
""")

# By key, since a range of positions would include rows that committed later and were not published. One index probe per
# key: after a vacuum that found the outbox empty, as it mostly is, the planner expects one row in it, and a join would
# read the whole outbox, and the whole arrays for each of its rows: 9 s for 1000 rows of 20 000.
_DELETE = text("""
    DELETE FROM event_outbox
    WHERE ctid = ANY (ARRAY(
        SELECT (SELECT e.ctid FROM event_outbox e WHERE e.order_key = i.order_key AND e.event_id = i.event_id)
        FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[])) AS i (order_key, event_id)))
""")

_DEFER = text("""
    UPDATE event_outbox
    SET attempts = attempts + 1,
        last_error = (CAST(:errors AS text[]))[array_position(CAST(:event_ids AS uuid[]), event_id)],
        -- The exponent is limited, so that a row that fails for months does not overflow the interval.
        next_attempt_at = now()
            + least(CAST(:max_delay AS interval), CAST(:min_delay AS interval) * 2 ^ least(attempts, 20))
    WHERE ctid = ANY (ARRAY(
        SELECT (SELECT e.ctid FROM event_outbox e WHERE e.order_key = i.order_key AND e.event_id = i.event_id)
        FROM unnest(CAST(:order_keys AS text[]), CAST(:event_ids AS uuid[])) AS i (order_key, event_id)))
""")

MAX_DELAY_SECONDS: Final = 3600.0
MAX_ERROR_CHARACTERS: Final = 500


async def add(conn: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Write events in order behind those of their keys.

    Raise OutboxConflict if one of the event ids is there already under its key, with equal bytes as well; the
    transaction is then aborted. Callers recognise repeats by the facts before this call.
    """
    parameters = arrays(
        rows,
        order_keys=lambda row: row.order_key,
        event_ids=lambda row: row.event.event_id,
        shards=lambda row: shard_of(row.order_key),
        sequences=lambda row: row.sequence,
        topics=lambda row: row.event.topic,
        record_keys=lambda row: row.event.key,
        values=lambda row: row.event.value,
        headers=lambda row: row.event.stored_headers,
        input_timestamps=lambda row: row.input_timestamp_low31,
    )
    try:
        await conn.execute(_ADD, parameters)
    except IntegrityError as error:
        cause = error.orig.__cause__ if error.orig else None
        if getattr(cause, "constraint_name", None) == "pk_event_outbox":
            raise OutboxConflict("an event id was written to the outbox a second time") from error
        raise


async def keys_with_rows(conn: AsyncConnection, order_keys: Collection[str]) -> frozenset[str]:
    """Return those of these keys that have rows here, deferred or not."""
    return frozenset(await conn.scalars(_KEYS_WITH_ROWS, {"order_keys": list(order_keys)}))


async def fetch(
    conn: AsyncConnection, shards: Sequence[int], *, rows: int, size: int, max_delay: float = MAX_DELAY_SECONDS
) -> list[WaitingRow]:
    """Return rows of these shards that may be published now, those of each shard in order.

    At most `rows` rows and about `size` bytes, but at least one row of any size. Shards that come first are served
    first, so callers rotate them. Keys with a deferred row are left out until it is due; then that row comes first. A
    row that is deferred for more than `max_delay` seconds is due: the database's clock was ahead when it was deferred.
    """
    found = await conn.execute(_FETCH, {"shards": list(shards), "rows": rows, "bytes": size, "max_delay": max_delay})
    return [WaitingRow._make(row) for row in found.all()]


async def delete(conn: AsyncConnection, rows: Iterable[WaitingRow]) -> None:
    """Delete rows that the broker has acked; a row that is gone already is no error."""
    keys = [(row.order_key, row.event_id) for row in rows]
    await conn.execute(_DELETE, {"order_keys": [key for key, _ in keys], "event_ids": [id_ for _, id_ in keys]})


async def schedule_retry(
    conn: AsyncConnection, failed: Sequence[FailedRow], *, min_delay: timedelta, max_delay: timedelta
) -> None:
    """Defer rows: the delay doubles with each attempt from `min_delay` up to `max_delay`.

    Later rows of the same key wait as well.
    """
    parameters = {
        "order_keys": [one.row.order_key for one in failed],
        "event_ids": [one.row.event_id for one in failed],
        "errors": [one.error[:MAX_ERROR_CHARACTERS] for one in failed],
        "min_delay": min_delay,
        "max_delay": max_delay,
    }
    await conn.execute(_DEFER, parameters)
