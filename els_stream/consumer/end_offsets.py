"""Reads the end offsets of the assigned partitions periodically, for the lag and for the input watermark.

The lag needs them because a worker that fetches nothing would otherwise not see its own lag grow. The watermark of a
partition is the last time at which everything in it was processed; deadlines are judged by it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final, Protocol

from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.kafka.offsets import Partition
from els_stream.tasks import run_every

log = logging.getLogger(__name__)

REFRESH_INTERVAL_SECONDS: Final = 2.0


class EndOffsetSource(Protocol):
    async def end_offsets(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]: ...


class WatermarkStore(Protocol):
    async def database_time(self) -> datetime: ...
    async def store_watermark(self, offsets: Mapping[Partition, int], read_at: datetime) -> None: ...


async def refresh_end_offsets(
    buffers: PartitionBuffers, kafka: EndOffsetSource, store: WatermarkStore, errors: tuple[type[Exception], ...]
) -> None:
    """Refresh periodically until cancelled. `errors`: what Kafka and the database raise while they are away."""

    async def refresh() -> None:
        try:
            await refresh_once(buffers, kafka, store)
        except errors as error:
            log.info("end offsets or watermark could not be refreshed: %s", type(error).__name__)

    await run_every(REFRESH_INTERVAL_SECONDS, refresh)


async def refresh_once(buffers: PartitionBuffers, kafka: EndOffsetSource, store: WatermarkStore) -> None:
    """Read the end offsets; then store the watermark of the partitions that are completely processed.

    The watermark is the database's time from before the end offsets were read. While the database is away the end
    offsets are refreshed all the same.
    """
    if not buffers.partitions:
        return
    read_at = await _database_time(store) if buffers.assignment_ready else None
    ends = await kafka.end_offsets(set(buffers.partitions))
    for tp, end in ends.items():
        if (state := buffers.partitions.get(tp)) is not None:
            state.log_end_offset = end
    processed = processed_to_end(buffers, ends)
    if read_at is not None and processed:
        await store.store_watermark(processed, read_at)


async def _database_time(store: WatermarkStore) -> datetime | None:
    try:
        return await store.database_time()
    except DATABASE_ERRORS as error:
        log.info("the watermark is not stored: %s", type(error).__name__)
        return None


def processed_to_end(buffers: PartitionBuffers, ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """Return the committed offsets of the partitions with nothing queued, in flight or unread below these ends."""
    processed: dict[Partition, int] = {}
    for tp, end in ends.items():
        state = buffers.partitions.get(tp)
        if state is None or not state.active or state.position is None:
            continue
        # `state.position`, not the client's own: that is already past records on their way to the queue.
        if state.position >= end and state.committed_offset == state.next_fetch_offset:
            processed[tp] = state.committed_offset
    return processed
