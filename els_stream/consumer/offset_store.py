"""The stored offsets outside of a micro-batch: each call is one short transaction of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.kafka.offsets import Partition, StoredOffset
from els_stream.queries import consumed_offsets


class OffsetStore:
    def __init__(self, engine: AsyncEngine, consumer_group: str) -> None:
        self._engine = engine
        self.consumer_group = consumer_group

    async def read(self, partitions: Collection[Partition]) -> dict[Partition, StoredOffset]:
        """Return the stored offsets; a partition without a row is left out."""
        async with self._engine.begin() as conn:
            return await consumed_offsets.read(conn, self.consumer_group, partitions)

    async def initialize(self, offsets: Mapping[Partition, int]) -> None:
        """Store first offsets; rows that exist already stay as they are, so read again."""
        async with self._engine.begin() as conn:
            await consumed_offsets.initialize(conn, self.consumer_group, offsets)

    async def reset(self, replaced: Mapping[Partition, tuple[int, int]]) -> set[Partition]:
        """Move partitions of recreated topics from the stored offset to the new beginning; return those that moved."""
        async with self._engine.begin() as conn:
            return await consumed_offsets.reset(conn, self.consumer_group, replaced)

    async def database_time(self) -> datetime:
        async with self._engine.begin() as conn:
            return await consumed_offsets.database_time(conn)

    async def store_watermark(self, offsets: Mapping[Partition, int], read_at: datetime) -> None:
        """Store that everything in Kafka at `read_at` is processed, where the stored offset is still the given one."""
        async with self._engine.begin() as conn:
            await consumed_offsets.store_watermark(conn, self.consumer_group, offsets, read_at)
