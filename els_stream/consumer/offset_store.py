"""The ledger outside of a micro-batch: each call is one short transaction of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.kafka.offsets import Partition, StoredOffset
from els_stream.queries import consumed_offsets


class OffsetStore:
    def __init__(self, engine: AsyncEngine, consumer_group: str) -> None:
        self._engine = engine
        self.consumer_group = consumer_group

    async def read(self, partitions: Collection[Partition]) -> dict[Partition, StoredOffset]:
        async with self._engine.begin() as conn:
            return await consumed_offsets.read(conn, self.consumer_group, partitions)

    async def adopt(self, offsets: Mapping[Partition, int]) -> None:
        async with self._engine.begin() as conn:
            await consumed_offsets.initialize(conn, self.consumer_group, offsets)

    async def restart(self, lost: Mapping[Partition, tuple[int, int]]) -> set[Partition]:
        async with self._engine.begin() as conn:
            return await consumed_offsets.reset(conn, self.consumer_group, lost)

    async def note_caught_up(
        self, reached: Callable[[], Awaitable[Mapping[Partition, int]]]
    ) -> Mapping[Partition, int]:
        """Notes, for what `reached` answers, the database's time from before it was asked."""
        async with self._engine.begin() as conn:
            read_at: datetime = await consumed_offsets.database_time(conn)
        offsets = await reached()
        if offsets:
            async with self._engine.begin() as conn:
                await consumed_offsets.store_watermark(conn, self.consumer_group, offsets, read_at)
        return offsets
