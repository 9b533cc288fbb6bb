"""The audit rows of ranges that were never read: one row per range, also if a worker finds it again."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.consumer.offset_store import OffsetStore
from els_stream.kafka.offsets import Partition
from els_stream.queries import skipped_offsets

GROUP = "group"
ONE, TWO = Partition("env.alpha", 0), Partition("env.alpha", 1)


async def ranges(engine: AsyncEngine) -> list[tuple[Partition, int, int]]:
    async with engine.connect() as conn:
        return [(one.partition, one.first, one.last) for one in await skipped_offsets.read_all(conn, GROUP)]


async def test_a_range_that_is_found_again_extends_its_row(engine: AsyncEngine) -> None:
    """The worker restarted before it processed another record, and Kafka had deleted more by then."""
    store = OffsetStore(engine, GROUP)

    await store.record_lost(ONE, 10, 19)
    await store.record_lost(ONE, 10, 24)
    await store.record_lost(ONE, 10, 24)

    assert await ranges(engine) == [(ONE, 10, 24)]


async def test_another_range_partition_or_group_has_a_row_of_its_own(engine: AsyncEngine) -> None:
    store = OffsetStore(engine, GROUP)

    await store.record_lost(ONE, 10, 19)
    await store.record_lost(ONE, 30, 39)
    await store.record_lost(TWO, 10, 19)
    await OffsetStore(engine, "another").record_lost(ONE, 10, 19)

    assert await ranges(engine) == [(ONE, 10, 19), (ONE, 30, 39), (TWO, 10, 19)]
