"""The outbox: a transaction writes rows with its facts; the relay deletes a row after the broker's ack.

Per order key, positions ascend with sequences and commit in that order: a writer holds the lock on the key's tracker
row from its first position until its commit. All waiting rows of a key are in one shard: a writer adds new rows to the
shard of those that wait. So what a snapshot sees of one key in its shard has no gap before its last row, and the order
of publishing rests on that alone. Positions of different keys commit in any order and mean nothing.

If no row of a key waits, all its rows were published, since a row is deleted only after the broker's ack. Then a writer
may publish its own rows (see `direct_publish`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from els_stream.errors import OutboxConflict
from els_stream.queries.direct_publish import direct_publish_of
from els_stream.queries.outbox_rows import WaitingRow, shard_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.outbox_rows import FailedRow, OutboxRow

CHANNEL: Final = "els_outbox"
FULL_QUEUE: Final = 0.5  # the fraction of the notification queue in use above which nothing is notified

# Positions are assigned after the sort: within a key they ascend with the sequence, whatever the order of the rows in
# the call. The shards of the keys are in an array without nulls, so that a row finds its shard by an index into it. One
# NOTIFY per statement; PostgreSQL merges equal ones of a transaction and sends them only after the commit.
#
# COMMIT fails if the server's queue of notifications is full, which any session does that listens and never ends its
# transaction. So nothing is notified while the queue is half full: the relays poll anyway, and a commit matters more.
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
                    CAST(:values AS bytea[]), CAST(:headers AS bytea[]), CAST(:input_timestamps AS int[]))
             AS i (order_key, event_id, key_number, sequence, topic, key, value, headers, input_timestamp_low31)
        ORDER BY i.sequence
    )
    SELECT free,
           CASE WHEN (waiting > 0 OR NOT CAST(:direct AS bool)) AND pg_notification_queue_usage() < :full_queue
                THEN pg_notify(:channel, '') END
    FROM keys
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
_MAX_ERROR_CHARACTERS: Final = 500


async def put(conn: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Write any number of rows in one statement; they are published after the caller's commit.

    This process publishes them if direct publish is enabled on the connection and no earlier rows of the key wait;
    otherwise a relay fetches them. Raise OutboxConflict if the outbox already has one of the event ids under its key,
    with equal bytes as well; the transaction is then aborted. Callers recognise repeats by the facts before this call.
    """
    if not rows:
        return
    direct = direct_publish_of(conn)
    numbers: dict[str, int] = {}
    key_numbers = [numbers.setdefault(row.order_key, len(numbers) + 1) for row in rows]
    events = [row.event for row in rows]
    parameters = {
        "channel": CHANNEL,
        "full_queue": FULL_QUEUE,
        "direct": direct is not None,
        "keys": list(numbers),
        "shards": [shard_of(key) if direct is None else direct.shard for key in numbers],
        "key_numbers": key_numbers,
        "order_keys": [row.order_key for row in rows],
        "event_ids": [event.event_id for event in events],
        "sequences": [row.sequence for row in rows],
        "topics": [event.topic for event in events],
        "record_keys": [event.key for event in events],
        "values": [event.value for event in events],
        "headers": [event.stored_headers for event in events],
        "input_timestamps": [row.input_timestamp_low31 for row in rows],
    }
    try:
        free = (await conn.execute(_PUT, parameters)).one().free
    except IntegrityError as error:
        cause = error.orig.__cause__ if error.orig else None
        if getattr(cause, "constraint_name", None) == "pk_event_outbox":
            raise OutboxConflict("an event id was written to the outbox a second time") from error
        raise
    if direct is not None:
        direct.rows += [row for row, number in zip(rows, key_numbers, strict=True) if free[number - 1]]


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
        "errors": [one.error[:_MAX_ERROR_CHARACTERS] for one in failed],
        "min_delay": min_delay,
        "max_delay": max_delay,
    }
    await conn.execute(_DEFER, parameters)
