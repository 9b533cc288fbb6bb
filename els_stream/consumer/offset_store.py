"""The stored offsets outside of a micro-batch, in short transactions.

Those that change rows beside a micro-batch wait for one row at a time (`els_stream.queries.consumed_offsets`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.kafka.offsets import Partition, StoredOffset, Watermark
from els_stream.queries import consumed_offsets, skipped_offsets
from els_stream.queries.skipped_offsets import SkippedOffsets

log = logging.getLogger(__name__)

DELETED: Final = "Kafka deleted them before they were read"
WORKER: Final = "a worker"


class OffsetStore:
    def __init__(self, engine: AsyncEngine, consumer_group: str) -> None:
        self._engine = engine
        self._one_by_one = engine.execution_options(isolation_level="AUTOCOMMIT")
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
        moved: set[Partition] = set()
        async with self._one_by_one.connect() as conn:
            for tp, offsets in replaced.items():
                moved |= await consumed_offsets.reset(conn, self.consumer_group, {tp: offsets})
        return moved

    async def adopt_topic_ids(self, partitions: Collection[Partition], topic_ids: Mapping[str, UUID]) -> None:
        """Store the ids of the topics of these partitions where none is stored."""
        async with self._one_by_one.connect() as conn:
            for tp in partitions:
                await consumed_offsets.adopt_topic_ids(conn, self.consumer_group, [tp], topic_ids)

    async def record_lost(self, partition: Partition, first: int, last: int) -> None:
        """Keep a range of offsets, both inclusive, that Kafka deleted before they were read; `els verify` shows it."""
        lost = SkippedOffsets(partition, first, last, DELETED, WORKER)
        async with self._engine.begin() as conn:
            await skipped_offsets.record(conn, self.consumer_group, lost)

    async def database_time(self) -> datetime:
        """Return the database's clock, after removing the group's watermarks that lie ahead of it."""
        async with self._engine.begin() as conn:
            for tp in sorted(await consumed_offsets.remove_watermarks_ahead(conn, self.consumer_group)):
                log.error("%s: its watermark lay ahead of the database's clock and is removed", tp)
            return await consumed_offsets.database_time(conn)

    async def store_watermarks(self, watermarks: Mapping[Partition, Watermark]) -> None:
        async with self._one_by_one.connect() as conn:
            await consumed_offsets.store_watermarks(conn, self.consumer_group, watermarks)
