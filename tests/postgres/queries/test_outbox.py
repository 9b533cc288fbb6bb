"""Writing events to segments, and behind those of their keys that wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.domain.batch import OutboxPosition
from els_stream.events.headers import decode_headers
from els_stream.queries import outbox, outbox_exceptions, outbox_segments, trackers
from els_stream.queries.outbox import put
from els_stream.queries.outbox_backlog import OutboxBacklog, read_backlog
from els_stream.queries.outbox_rows import SHARD_COUNT, OutboxRow, WaitingRow
from els_stream.queries.outbox_segments import MovedRow, Segment
from els_stream.queries.segment_codec import MAX_SEGMENT_BYTES
from tests.support.outbox_rows import batch_rows, commit, last_segment, put_rows, row
from tests.support.unsent_events import unsent_events

ALL_SHARDS = range(SHARD_COUNT)
HOUR = timedelta(hours=1)


@pytest.fixture
async def conn(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


async def fetch(
    conn: AsyncConnection, shards: Sequence[int] = ALL_SHARDS, *, events: int = 1000, size: int = 2**23
) -> list[Segment]:
    segments, _ = await outbox_segments.fetch(conn, shards, events=events, size=size)
    return segments


def values(rows: Sequence[WaitingRow]) -> list[tuple[str, bytes | None]]:
    return [(one.order_key, one.value) for one in rows]


def written(rows: Sequence[OutboxRow]) -> list[tuple[str, bytes | None]]:
    return [(one.order_key, one.event.value) for one in rows]


async def move_aside(conn: AsyncConnection, segment: Segment, failed_key: str) -> None:
    """Finish the segment as a relay does that the broker refused an event of this key."""
    left = [one for one in segment.rows if one.order_key == failed_key]
    moved = [MovedRow(segment.position, one, "too large" if one is left[0] else None) for one in left]
    await outbox_segments.move_aside(conn, [segment], moved, HOUR)


async def test_events_come_back_byte_for_byte(conn: AsyncConnection) -> None:
    whole = row("batch-of-9b", 1)

    await put(conn, [whole])
    [segment] = await fetch(conn)

    [back] = segment.rows
    assert (back.event_id, back.topic, back.key) == (whole.event.event_id, whole.event.topic, whole.event.key)
    assert (back.value, decode_headers(back.headers)) == (whole.event.value, whole.event.headers)
    assert (back.order_key, back.sequence, back.attempts, back.shard) == ("batch-of-9b", 1, 0, segment.shard)


async def test_a_transaction_writes_a_thousand_new_keys_as_one_segment_in_one_statement(conn: AsyncConnection) -> None:
    rows = [one for batch in range(1000) for one in batch_rows(f"batch {batch}")]
    statements: list[str] = []
    event.listen(conn.sync_connection, "before_cursor_execute", lambda *args: statements.append(args[2]))

    await put(conn, rows)

    assert len(statements) == 1
    [segment] = await fetch(conn)
    assert sorted(values(segment.rows)) == sorted(written(rows))


async def test_putting_no_events_executes_no_statement(conn: AsyncConnection) -> None:
    await put(conn, [])

    assert not conn.in_transaction()


async def test_events_of_a_key_are_in_order_of_their_sequences(conn: AsyncConnection) -> None:
    rows = batch_rows("batch-of-9b")

    await put(conn, rows[::-1])

    [segment] = await fetch(conn)
    assert values(segment.rows) == written(rows)


async def test_events_of_16_mib_are_alone_in_their_segments(conn: AsyncConnection) -> None:
    rows = [row("large", 1), row("large", 2, padding=16 * 2**20 - 2**17), row("large", 3)]

    await put_rows(conn, rows)

    segments = await fetch(conn, size=2**30)
    assert [values(segment.rows) for segment in segments] == [written([one]) for one in rows]
    assert len({segment.shard for segment in segments}) == 1
    assert [len(segment.rows) for segment in await fetch(conn)] == [1, 1], "the fetch is bounded by bytes"


async def test_segments_are_bounded_by_bytes(conn: AsyncConnection) -> None:
    await put_rows(conn, [row("batch-of-9b", number, padding=MAX_SEGMENT_BYTES // 3) for number in range(1, 6)])

    assert [len(segment.rows) for segment in await fetch(conn, size=2**30)] == [2, 2, 1]


async def test_a_fetch_is_limited_and_returns_at_least_one_segment(engine: AsyncEngine, conn: AsyncConnection) -> None:
    for number in range(1, 6):
        await commit(engine, [row("batch-of-9b", number, padding=100_000), row("batch-of-9b", number + 5)])

    assert len(await fetch(conn, size=250_000)) == 3
    assert len(await fetch(conn, events=4)) == 2
    assert len(await fetch(conn, events=1, size=1)) == 1


async def test_the_first_of_the_given_shards_is_fetched_first(engine: AsyncEngine, conn: AsyncConnection) -> None:
    for number in range(100):
        await commit(engine, [row(f"batch {number}", 1)])

    for turns in ([7, 8, 9], [9, 7, 8]):
        assert {segment.shard for segment in await fetch(conn, turns, events=1)} == {turns[0]}


async def test_events_follow_those_of_their_key_that_wait(engine: AsyncEngine, conn: AsyncConnection) -> None:
    """Also if the first ones are in another shard than a new key's would be."""
    await commit(engine, [row("first of its segment", 1), row("follower", 1)])
    await commit(engine, [row("follower", 2), row("newcomer", 1)])

    first, second = await fetch(conn)

    assert first.shard == second.shard
    assert values(second.rows) == written([row("newcomer", 1), row("follower", 2)])


async def test_keys_that_wait_in_several_shards_are_written_apart(engine: AsyncEngine, conn: AsyncConnection) -> None:
    keys = [f"batch {number}" for number in range(10)]
    for key in keys:
        await commit(engine, [row(key, 1)])
    shards = {segment.rows[0].order_key: segment.shard for segment in await fetch(conn)}

    await commit(engine, [row(key, 2) for key in keys] + [row("newcomer", 1)])

    later = [one for segment in await fetch(conn) for one in segment.rows if one.sequence == 2]
    assert {one.order_key: one.shard for one in later} == shards
    assert len(set(shards.values())) > 1
    assert len(await unsent_events(conn)) == 2 * len(keys) + 1


async def test_a_key_is_free_again_once_its_segment_is_gone(engine: AsyncEngine, conn: AsyncConnection) -> None:
    await commit(engine, [row("busy", 1), row("9b", 1)])
    await outbox_segments.delete(conn, await fetch(conn))
    await conn.commit()

    await commit(engine, [row("9b", 2)])

    [segment] = await fetch(conn)
    assert last_segment(engine, "9b") == (segment.shard, segment.position)


@pytest.mark.parametrize("size", [10, MAX_SEGMENT_BYTES // 2])
async def test_batches_are_saved_with_the_segments_of_their_events(conn: AsyncConnection, size: int) -> None:
    """In one statement if the events are one segment; a batch without new events keeps its last one."""
    batches = await trackers.lock(conn, ["loud", "louder", "quiet"])
    batches["quiet"].last_segment = OutboxPosition(3, 7)
    rows = [row("loud", 1, padding=size), row("louder", 1, padding=size)]

    await put(conn, rows, batches, save=list(batches.values()))

    first, *others = await fetch(conn)
    second = others[0] if others else first
    saved = await trackers.lock(conn, batches)
    assert [saved[key].last_segment for key in ("loud", "louder", "quiet")] == [
        OutboxPosition(first.shard, first.position),
        OutboxPosition(second.shard, second.position),
        OutboxPosition(3, 7),
    ]
    assert bool(others) is (size > 10)


async def test_later_events_follow_their_key_among_the_exceptions(engine: AsyncEngine, conn: AsyncConnection) -> None:
    await commit(engine, [row("refused", 1), row("refused", 2), row("sent", 1)])
    [segment] = await fetch(conn)
    await move_aside(conn, segment, "refused")
    await conn.commit()

    await commit(engine, [row("refused", 3), row("sent", 2)])

    assert [values(one.rows) for one in await fetch(conn)] == [written([row("sent", 2)])]
    exceptions = (
        await conn.execute(text("SELECT order_key, sequence, attempts FROM event_outbox ORDER BY position"))
    ).all()
    assert exceptions == [("refused", 1, 1), ("refused", 2, 0), ("refused", 3, 0)]
    assert await outbox_exceptions.fetch(conn, ALL_SHARDS, rows=10, size=2**20) == []
    assert await outbox_exceptions.keys_with_rows(conn, ["refused", "sent"]) == {"refused"}


async def test_events_stay_behind_a_segment_though_earlier_ones_were_moved_aside(
    engine: AsyncEngine, conn: AsyncConnection
) -> None:
    """The relay then moves them too, so that the third one does not overtake the second."""
    for sequence in (1, 2):
        await commit(engine, [row("refused", sequence)])
    first, second = await fetch(conn)
    await move_aside(conn, first, "refused")
    await conn.commit()

    await commit(engine, [row("refused", 3)])

    assert [one.rows[0].sequence for one in await fetch(conn)] == [2, 3]
    assert second.shard == (await fetch(conn))[1].shard


async def test_of_two_relays_only_one_moves_the_events_of_a_segment(engine: AsyncEngine, conn: AsyncConnection) -> None:
    """A frozen relay may wake after another one has sent or moved everything."""
    await commit(engine, batch_rows("refused"))
    [segment] = await fetch(conn)

    await outbox_segments.delete(conn, [segment])
    await move_aside(conn, segment, "refused")

    assert await unsent_events(conn) == []


async def test_a_segment_that_commits_late_is_neither_missed_nor_deleted(engine: AsyncEngine) -> None:
    """The lower position commits after the higher one was fetched, published and deleted."""
    async with engine.connect() as slow, engine.connect() as relay:
        await put(slow, [row("slow", 1)])
        await commit(engine, [row("quick", 1)])
        seen = await fetch(relay)
        await slow.commit()
        await outbox_segments.delete(relay, seen)
        await relay.commit()

        [rest] = await fetch(relay)

    assert [one.rows[0].order_key for one in seen] == ["quick"]
    assert rest.rows[0].order_key == "slow"


async def test_listeners_are_notified_at_the_commit_and_not_before(engine: AsyncEngine, database: str) -> None:
    notified = asyncio.Event()
    listener = await asyncpg.connect(database)
    await listener.add_listener(outbox.CHANNEL, lambda *_: notified.set())

    async with engine.begin() as conn:
        await put(conn, batch_rows("batch-of-9b"))
        await listener.execute("SELECT 1")
        early = notified.is_set()
    async with asyncio.timeout(5):
        await notified.wait()
    await listener.close()

    assert not early


async def test_the_backlog_counts_events_of_segments_and_exceptions(engine: AsyncEngine, conn: AsyncConnection) -> None:
    nothing = await read_backlog(conn)
    await commit(engine, batch_rows("refused") + batch_rows("sent"))
    [segment] = await fetch(conn)
    await move_aside(conn, segment, "refused")
    await conn.commit()
    await commit(engine, batch_rows("newcomer"))
    await conn.execute(text("UPDATE outbox_segments SET created_at = now() - interval '1 minute'"))

    assert nothing == OutboxBacklog(0, 0, 0.0)
    assert await read_backlog(conn) == OutboxBacklog(14, 1, 60.0)
