from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.errors import OutboxConflict
from els_stream.events import topics
from els_stream.events.headers import decode_headers
from els_stream.queries import outbox_exceptions
from els_stream.queries.outbox_backlog import OutboxBacklog, read_backlog
from els_stream.queries.outbox_rows import SHARD_COUNT, FailedRow, OutboxRow, WaitingRow, shard_of
from tests.support.outbox_rows import batch_rows, row

ALL_SHARDS = range(SHARD_COUNT)
PLENTY = {"rows": 1000, "size": 2**23}
LONG = timedelta(hours=1)


@pytest.fixture
async def conn(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


async def commit(engine: AsyncEngine, rows: list[OutboxRow]) -> None:
    async with engine.begin() as connection:
        await outbox_exceptions.add(connection, rows)


def fetched(rows: list[WaitingRow]) -> list[tuple[str, bytes | None]]:
    return [(row.order_key, row.value) for row in rows]


def written(rows: list[OutboxRow]) -> list[tuple[str, bytes | None]]:
    return [(one.order_key, one.event.value) for one in rows]


async def test_rows_are_fetched_byte_for_byte(conn: AsyncConnection) -> None:
    whole = row("batch-of-9b", 1)

    await outbox_exceptions.add(conn, [whole])
    [back] = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)

    assert (back.event_id, back.topic, back.key) == (whole.event.event_id, whole.event.topic, whole.event.key)
    assert (back.value, decode_headers(back.headers)) == (whole.event.value, whole.event.headers)
    assert (back.order_key, back.shard, back.attempts) == ("batch-of-9b", shard_of("batch-of-9b"), 0)


@pytest.mark.parametrize("topic", [topics.SLOT_ASSIGNED, topics.EXCESS_CONTENT])
async def test_an_event_id_that_exists_raises_whatever_the_bytes(engine: AsyncEngine, topic: str) -> None:
    first = row("batch-of-9b", 1)
    again = OutboxRow("batch-of-9b", 2, row("batch-of-9b", 1, topic).event)
    same_id = OutboxRow("batch-of-9b", 2, type(first.event)(first.event.event_id, topic, b"", b"other", b"[]"))
    await commit(engine, [first])

    for repeated in (again, same_id) if topic == topics.SLOT_ASSIGNED else (same_id,):
        with pytest.raises(OutboxConflict):
            await commit(engine, [repeated])


async def test_rows_of_a_key_are_fetched_by_sequence_in_whatever_order_they_are_put(conn: AsyncConnection) -> None:
    rows = batch_rows("batch-of-9b")

    await outbox_exceptions.add(conn, rows[::-1])

    assert fetched(await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)) == written(rows)


async def test_only_the_given_shards_are_fetched(conn: AsyncConnection) -> None:
    batches = [f"batch {number}" for number in range(200)]
    await outbox_exceptions.add(conn, [row(batch, 1) for batch in batches])

    rows = await outbox_exceptions.fetch(conn, [3, 5], **PLENTY)

    assert {one.order_key for one in rows} == {batch for batch in batches if shard_of(batch) in {3, 5}}


async def test_the_first_of_the_given_shards_is_fetched_first(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, [row(f"batch {number}", 1) for number in range(200)])

    for turns in ([7, 8, 9], [9, 7, 8]):
        rows = await outbox_exceptions.fetch(conn, turns, rows=2, size=2**23)

        assert {one.shard for one in rows} == {turns[0]}


async def test_a_fetch_is_limited_by_bytes_but_returns_at_least_one_row(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, [row("batch-of-9b", number, padding=100_000) for number in range(1, 6)])

    assert len(await outbox_exceptions.fetch(conn, ALL_SHARDS, rows=1000, size=250_000)) == 3
    assert len(await outbox_exceptions.fetch(conn, ALL_SHARDS, rows=1000, size=1)) == 1


async def test_a_deferred_row_blocks_only_its_key(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, batch_rows("rejected") + batch_rows("healthy"))
    first = next(
        one for one in await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY) if one.order_key == "rejected"
    )

    await outbox_exceptions.schedule_retry(conn, [FailedRow(first, "too large")], min_delay=LONG, max_delay=LONG)

    assert fetched(await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)) == written(batch_rows("healthy"))


async def test_a_row_deferred_while_the_clock_was_ahead_is_due(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, batch_rows("rejected"))
    [first, *_] = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)
    await outbox_exceptions.schedule_retry(conn, [FailedRow(first, "too large")], min_delay=LONG, max_delay=LONG)

    await conn.execute(text("UPDATE event_outbox SET next_attempt_at = next_attempt_at + interval '1 second'"))

    assert fetched(await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)) == written(batch_rows("rejected"))


async def test_a_due_row_is_the_first_of_its_key_again_with_its_attempts(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, batch_rows("rejected"))
    [first, *_] = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)
    none = timedelta(0)

    for _ in range(3):
        await outbox_exceptions.schedule_retry(conn, [FailedRow(first, "too large")], min_delay=none, max_delay=none)
    rows = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)

    assert fetched(rows) == written(batch_rows("rejected"))
    assert [one.attempts for one in rows] == [3, 0, 0, 0, 0, 0, 0]


async def test_the_delay_doubles_up_to_the_maximum(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, [row("rejected", 1)])
    [first] = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)
    deferral = text("SELECT extract(epoch FROM next_attempt_at - now())::int, attempts, last_error FROM event_outbox")

    seen = []
    for _ in range(4):
        await outbox_exceptions.schedule_retry(
            conn, [FailedRow(first, "x" * 900)], min_delay=timedelta(seconds=10), max_delay=timedelta(seconds=50)
        )
        seen.append(tuple((await conn.execute(deferral)).one()))

    assert seen == [(10, 1, "x" * 500), (20, 2, "x" * 500), (40, 3, "x" * 500), (50, 4, "x" * 500)]


async def test_the_delay_does_not_overflow_after_very_many_attempts(conn: AsyncConnection) -> None:
    await outbox_exceptions.add(conn, [row("rejected", 1)])
    [first] = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)
    await conn.execute(text("UPDATE event_outbox SET attempts = 100000"))

    await outbox_exceptions.schedule_retry(
        conn, [FailedRow(first, "still")], min_delay=timedelta(seconds=1), max_delay=LONG
    )

    assert (await read_backlog(conn)).deferred == 1


async def test_a_position_that_commits_late_is_neither_missed_nor_deleted(engine: AsyncEngine) -> None:
    """The lower position commits after the higher one was fetched, published and deleted."""
    async with engine.connect() as slow, engine.connect() as relay:
        await outbox_exceptions.add(slow, [row("slow", 1)])
        await commit(engine, [row("quick", 1)])
        seen = await outbox_exceptions.fetch(relay, ALL_SHARDS, **PLENTY)
        await slow.commit()
        await outbox_exceptions.delete(relay, seen)
        await relay.commit()

        rest = await outbox_exceptions.fetch(relay, ALL_SHARDS, **PLENTY)

    assert [one.order_key for one in seen] == ["quick"]
    assert [one.order_key for one in rest] == ["slow"]


async def test_the_backlog_has_counts_and_the_age_of_the_oldest_row(conn: AsyncConnection) -> None:
    nothing = await read_backlog(conn)
    await outbox_exceptions.add(conn, batch_rows("rejected") + batch_rows("healthy"))
    await conn.execute(text("UPDATE event_outbox SET created_at = now() - interval '1 minute' WHERE sequence = 1"))
    [first, *_] = await outbox_exceptions.fetch(conn, ALL_SHARDS, **PLENTY)
    await outbox_exceptions.schedule_retry(conn, [FailedRow(first, "too large")], min_delay=LONG, max_delay=LONG)

    assert nothing == OutboxBacklog(0, 0, 0.0)
    assert await read_backlog(conn) == OutboxBacklog(14, 1, 60.0)
