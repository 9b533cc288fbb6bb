"""The ledger's statements: compare-and-set, one order of locks, and no row moved by two."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.errors import classify
from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, StoredOffset
from els_stream.queries import consumed_offsets

GROUP = "group"
ONE, TWO = Partition("env.alpha", 0), Partition("env.alpha", 1)
MARK = RecordFingerprint(1_700_000_000_000, 4_294_967_295)


@pytest.fixture
async def adopted(engine: AsyncEngine) -> AsyncEngine:
    async with engine.begin() as conn:
        await consumed_offsets.adopt(conn, GROUP, {ONE: 0, TWO: 5})
    return engine


async def rows(engine: AsyncEngine) -> dict[Partition, StoredOffset]:
    async with engine.begin() as conn:
        return await consumed_offsets.read(conn, GROUP, [ONE, TWO])


async def test_adopted_partitions_are_read_back_and_the_first_adoption_stays(adopted: AsyncEngine) -> None:
    async with adopted.begin() as conn:
        await consumed_offsets.adopt(conn, GROUP, {ONE: 99})
    assert await rows(adopted) == {ONE: StoredOffset(0, None), TWO: StoredOffset(5, None)}


async def test_another_group_is_another_ledger(adopted: AsyncEngine) -> None:
    async with adopted.begin() as conn:
        assert await consumed_offsets.read(conn, "another", [ONE, TWO]) == {}


async def test_only_rows_at_their_lo_move(adopted: AsyncEngine) -> None:
    async with adopted.begin() as conn:
        assert (
            await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, MARK), OffsetRange(TWO, 4, 10, MARK)])
            == 1
        )
    assert await rows(adopted) == {ONE: StoredOffset(10, MARK), TWO: StoredOffset(5, None)}


async def test_a_topic_made_anew_restarts_once_and_forgets_its_mark(adopted: AsyncEngine) -> None:
    async with adopted.begin() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, MARK)])
        assert await consumed_offsets.restart(conn, GROUP, {ONE: (10, 2), TWO: (99, 2)}) == {ONE}
        assert await consumed_offsets.restart(conn, GROUP, {ONE: (10, 2)}) == set()
    assert await rows(adopted) == {ONE: StoredOffset(2, None), TWO: StoredOffset(5, None)}


async def test_to_lock_waits_for_who_is_about_to_move_the_row(adopted: AsyncEngine) -> None:
    async def successor() -> int:
        async with adopted.begin() as conn:
            await consumed_offsets.lock(conn, GROUP, [OffsetRange(ONE, 10, 20, MARK)])
            return await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 10, 20, MARK)])

    async with adopted.begin() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, MARK)])
        after = asyncio.create_task(successor())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(after), 0.3)
    assert await asyncio.wait_for(after, 2) == 1
    assert (await rows(adopted))[ONE].next_offset == 20


async def test_without_the_lock_a_successor_finds_no_row_at_once(adopted: AsyncEngine) -> None:
    async with adopted.begin() as first, adopted.connect() as second:
        await consumed_offsets.lock(first, GROUP, [OffsetRange(ONE, 0, 10, MARK)])
        assert await consumed_offsets.advance(second, GROUP, [OffsetRange(ONE, 10, 20, MARK)]) == 0
        await second.rollback()


async def test_of_two_owners_of_one_span_one_moves_the_row(adopted: AsyncEngine) -> None:
    async def owner() -> int:
        async with adopted.begin() as conn:
            return await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, MARK)])

    assert sorted(await asyncio.gather(*(owner() for _ in range(8)))) == [0] * 7 + [1]


async def test_locks_are_taken_in_one_order_whatever_the_callers_is(adopted: AsyncEngine) -> None:
    spans = [OffsetRange(ONE, 0, 1, MARK), OffsetRange(TWO, 5, 6, MARK)]

    async def owner(number: int) -> None:
        for _ in range(20):
            async with adopted.begin() as conn:
                await consumed_offsets.lock(conn, GROUP, spans if number % 2 else spans[::-1])

    await asyncio.gather(*(owner(number) for number in range(8)))


async def test_caught_up_is_noted_only_where_the_row_still_stands(adopted: AsyncEngine) -> None:
    async with adopted.begin() as conn:
        now = await consumed_offsets.database_time(conn)
        await consumed_offsets.note_caught_up(conn, GROUP, {ONE: 0, TWO: 4}, now)
        noted = await conn.exec_driver_sql("SELECT partition FROM consumed_offsets WHERE watermark_at IS NOT NULL")
        assert noted.scalars().all() == [0]


async def test_a_negative_offset_is_refused_by_the_database(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as refused:
        async with engine.begin() as conn:
            await consumed_offsets.adopt(conn, GROUP, {ONE: -1})
    assert classify(refused.value).cause == "23514"
