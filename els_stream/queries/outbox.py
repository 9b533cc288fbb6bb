"""Writes events to the outbox, in the transaction of their facts.

The events of a transaction become one segment (`outbox_segments`), in a shard that its process may publish from itself
(`direct_publish`), or in any other. Two cases differ, since the events of a key are published in order:

- Events of the key wait in a segment: the tracker row has the last one. Then new events go to that shard, behind them.
- Rows of the key wait among the exceptions (`outbox_exceptions`) and none in a segment: new events follow them there.

Otherwise all events of the key were published: a segment is deleted, and a row as well, only after the broker's ack.
Both tables are read in one snapshot after the tracker row was locked: only the holder of this lock adds events of the
key, so others can only remove some, and then the new events wait behind fewer.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sqlalchemy import text

from els_stream.domain.batch import OutboxPosition
from els_stream.failpoints import Failpoint, failpoint
from els_stream.queries import outbox_exceptions, trackers
from els_stream.queries.direct_publish import WrittenSegment, direct_publish_of
from els_stream.queries.outbox_rows import OutboxRow, shard_of
from els_stream.queries.packed_arrays import packed
from els_stream.queries.segment_codec import encode, split
from els_stream.queries.trackers import SAVE_WITH_SEGMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import Batch
    from els_stream.queries.direct_publish import DirectPublish

CHANNEL: Final = "els_outbox"
FULL_QUEUE: Final = 0.5  # the fraction of the notification queue in use above which nothing is notified

# COMMIT fails if the server's queue of notifications is full, which any session does that listens and never ends its
# transaction. So nothing is notified while the queue is half full: the relays poll anyway, and a commit matters more.
# PostgreSQL merges equal notifications of a transaction and sends them only after the commit.
_NOTIFY: Final = """
    CASE WHEN NOT shard = ANY (CAST(:owned AS smallint[])) AND pg_notification_queue_usage() < :full_queue
         THEN pg_notify(:channel, '') END
"""
# If nothing waits, all segments go to the shard of the caller; if something does in one other shard, all go there. Else
# nothing is written, and nothing saved.
# `pg_current_xact_id()` has the transaction get its id before it draws a position, which `outbox_bounds` relies on.
_PUT_WITH: Final = """
    WITH waiting AS MATERIALIZED (
        SELECT array_agg(DISTINCT found.shard) AS shards, array_agg(found.position) AS positions
        FROM unnest(CAST(:last_shards AS smallint[]), CAST(:last_positions AS bigint[])) AS l (shard, position)
        CROSS JOIN LATERAL (SELECT s.shard, s.position FROM outbox_segments s
                            WHERE s.shard = l.shard AND s.position = l.position LIMIT 1) found
    ), written AS (
        INSERT INTO outbox_segments (shard, events, size, payload)
        SELECT coalesce(waiting.shards[1], CAST(:shard AS smallint)), i.events, i.size, i.payload
        FROM waiting, unnest(CAST(:events AS int[]), CAST(:sizes AS int[]), CAST(:payloads AS bytea[]))
                      WITH ORDINALITY AS i (events, size, payload, number)
        WHERE coalesce(cardinality(waiting.shards), 0) < 2 AND pg_current_xact_id() IS NOT NULL
          -- While the table is empty no key is probed.
          AND ((SELECT true FROM event_outbox LIMIT 1) IS NULL
               OR (SELECT true FROM unnest(CAST(:keys AS text[])) AS k (order_key)
                   WHERE (SELECT true FROM event_outbox e WHERE e.order_key = k.order_key LIMIT 1) LIMIT 1) IS NULL)
        ORDER BY i.number
        RETURNING shard, position, (SELECT positions FROM waiting) AS waiting, {notify}
    ) {saved}
    SELECT * FROM written ORDER BY position
""".replace("{notify}", _NOTIFY)
_PUT = text(_PUT_WITH.replace("{saved}", ""))
_PUT_AND_SAVE = text(_PUT_WITH.replace("{saved}", ", saved AS ({save})".replace("{save}", SAVE_WITH_SEGMENT)))

_FIND_WAITING = text("""
    SELECT k.order_key,
           (SELECT s.shard FROM outbox_segments s WHERE s.shard = k.shard AND s.position = k.position) AS shard,
           (SELECT true FROM event_outbox e WHERE e.order_key = k.order_key LIMIT 1) AS exceptions
    FROM unnest(CAST(:keys AS text[]), CAST(:last_shards AS smallint[]), CAST(:last_positions AS bigint[]))
         AS k (order_key, shard, position)
""")
_PUT_APART = text(
    """
    INSERT INTO outbox_segments (shard, events, size, payload)
    SELECT i.shard, i.events, i.size, i.payload
    FROM unnest(CAST(:shards AS smallint[]), CAST(:events AS int[]), CAST(:sizes AS int[]), CAST(:payloads AS bytea[]))
         WITH ORDINALITY AS i (shard, events, size, payload, number)
    WHERE pg_current_xact_id() IS NOT NULL
    ORDER BY i.number
    RETURNING shard, position, {notify}
""".replace("{notify}", _NOTIFY)
)
_NOTIFY_OF_EXCEPTIONS = text("""
    SELECT CASE WHEN pg_notification_queue_usage() < :full_queue THEN pg_notify(:channel, '') END
""")


class OrderedKey(Protocol):
    """A locked batch. `last_segment` is the last one with events of it, None if there was none."""

    last_segment: OutboxPosition | None


_NO_BATCHES: Final[Mapping[str, OrderedKey]] = {}


class _Chunk(NamedTuple):
    """The events of one segment, and their size before compression."""

    rows: Sequence[OutboxRow]
    size: int
    payload: bytes


async def put(
    conn: AsyncConnection,
    rows: Sequence[OutboxRow],
    batches: Mapping[str, OrderedKey] = _NO_BATCHES,
    save: Sequence[Batch] = (),
) -> None:
    """Write any number of events, which are published after the caller's commit, and save batches.

    `batches` are the locked batches of the order keys; their `last_segment` is set, so they have to be in `save` or
    saved afterwards. A key without a batch must be new. Events and batches take one statement where it is possible.

    This process publishes the events if direct publish is enabled on the connection and no earlier events of the keys
    wait elsewhere; otherwise a relay fetches them. Callers recognise repeats by the facts before this call. Raise
    OutboxConflict if one of the events waits among the exceptions already; the transaction is then aborted.
    """
    if not rows:
        await trackers.save(conn, save)
        return
    rows = sorted(rows, key=_sequence)
    direct = direct_publish_of(conn)
    keys = [key for key in dict.fromkeys(row.order_key for row in rows) if key in batches]
    chunks = _chunks(rows)
    also = save if len(chunks) == 1 else ()
    if await _put_together(conn, chunks, keys, batches, direct, also):
        save = () if also else save
    else:
        await _put_apart(conn, rows, keys, batches, direct)
    failpoint(Failpoint.AFTER_OUTBOX_INSERT)
    await trackers.save(conn, save)


async def _put_together(
    conn: AsyncConnection,
    chunks: Sequence[_Chunk],
    keys: Sequence[str],
    batches: Mapping[str, OrderedKey],
    direct: DirectPublish | None,
    save: Sequence[Batch],
) -> bool:
    """Write all events to one shard, in one statement; return False if that cannot be.

    The statement saves the batches too; of several chunks it can save none.
    """
    last = {position for key in keys if (position := batches[key].last_segment) is not None}
    parameters = {
        "shard": shard_of(chunks[0].rows[0].order_key) if direct is None else direct.shard,
        "keys": keys,
        "last_shards": [one.shard for one in last],
        "last_positions": [one.position for one in last],
        **_arrays(chunks),
        **_notification(direct),
    }
    if save:
        parameters |= packed(trackers.saved_arrays(save, frozenset(keys)))
    written = (await conn.execute(_PUT_AND_SAVE if save else _PUT, parameters)).all()
    if not written:
        return False
    for chunk, (shard, position, waiting, _) in zip(chunks, written, strict=True):
        _note(OutboxPosition(shard, position), chunk.rows, batches, direct, frozenset(waiting or ()))
    return True


async def _put_apart(
    conn: AsyncConnection,
    rows: Sequence[OutboxRow],
    keys: Sequence[str],
    batches: Mapping[str, OrderedKey],
    direct: DirectPublish | None,
) -> None:
    """Write the events of each key to the shard in which events of it wait, or to the exceptions."""
    last = [batches[key].last_segment for key in keys]
    parameters = {
        "keys": keys,
        "last_shards": [one and one.shard for one in last],
        "last_positions": [one and one.position for one in last],
    }
    found = (await conn.execute(_FIND_WAITING, parameters)).all()
    waiting = {row.order_key: row.shard for row in found if row.shard is not None}
    after: defaultdict[int, set[int]] = defaultdict(set)
    for key, shard in waiting.items():
        if (position := batches[key].last_segment) is not None:
            after[shard].add(position.position)
    exceptions = {row.order_key for row in found if row.exceptions} - waiting.keys()
    if behind := [row for row in rows if row.order_key in exceptions]:
        await outbox_exceptions.add(conn, behind)
        await conn.execute(_NOTIFY_OF_EXCEPTIONS, {"channel": CHANNEL, "full_queue": FULL_QUEUE})
    free = shard_of(rows[0].order_key) if direct is None else direct.shard
    # Events that may be published at once are in segments of their own.
    groups: dict[tuple[int, bool], list[OutboxRow]] = {}
    for row in rows:
        if row.order_key not in exceptions:
            is_free = row.order_key not in waiting
            groups.setdefault((waiting.get(row.order_key, free), is_free), []).append(row)
    chunks = [(group, chunk) for group, members in groups.items() for chunk in _chunks(members)]
    if not chunks:
        return
    written = await conn.execute(
        _PUT_APART,
        {
            "shards": [shard for (shard, _), _ in chunks],
            **_arrays([chunk for _, chunk in chunks]),
            **_notification(direct),
        },
    )
    for ((_, is_free), chunk), (shard, position, _) in zip(chunks, written.all(), strict=True):
        behind_these = frozenset() if is_free else frozenset(after[shard])
        _note(OutboxPosition(shard, position), chunk.rows, batches, direct, behind_these)


def _note(
    at: OutboxPosition,
    rows: Sequence[OutboxRow],
    batches: Mapping[str, OrderedKey],
    direct: DirectPublish | None,
    after: frozenset[int],
) -> None:
    """Note the segment on its batches, and for direct publish with the positions that it waits for."""
    for row in rows:
        if (batch := batches.get(row.order_key)) is not None:
            batch.last_segment = at
    if direct is not None:
        direct.segments.append(WrittenSegment(at.shard, at.position, rows, after))


def _chunks(rows: Sequence[OutboxRow]) -> list[_Chunk]:
    return [_Chunk(members, size, encode(members, size)) for members, size in split(rows)]


def _arrays(chunks: Sequence[_Chunk]) -> dict[str, list[object]]:
    return {
        "events": [len(chunk.rows) for chunk in chunks],
        "sizes": [chunk.size for chunk in chunks],
        "payloads": [chunk.payload for chunk in chunks],
    }


def _notification(direct: DirectPublish | None) -> dict[str, object]:
    """Return the parameters of `_NOTIFY`: nothing is notified for shards of this process, which knows of its commit."""
    return {"owned": list(direct.owned) if direct else [], "channel": CHANNEL, "full_queue": FULL_QUEUE}


def _sequence(row: OutboxRow) -> int:
    return row.sequence
