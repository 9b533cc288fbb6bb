"""Notes beside the ledger what this worker has caught up with, so that deadlines are judged by what was handled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from els_stream.consumer.offset_store import OffsetStore
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.kafka.offsets import Partition

log = logging.getLogger(__name__)

NOTE_SECONDS = 2.0


class EndOffsetSource(Protocol):
    async def ends(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]: ...


async def caught_up(lane: PartitionBuffers, kafka: EndOffsetSource) -> dict[Partition, int]:
    """Where each partition stands that has nothing queued or in flight and was read up to its end, asked now."""
    ends = await kafka.ends(set(lane.parts)) if lane.parts else {}
    reached: dict[Partition, int] = {}
    for tp, end in ends.items():
        part = lane.parts.get(tp)
        if part is None or not part.live or part.fetched_to is None:
            continue
        # Not the client's own position: it is past records that are still on their way to the queue.
        if part.fetched_to >= end and part.done == part.expected:
            reached[tp] = part.done
    return reached


async def keep_noting(
    lane: PartitionBuffers, kafka: EndOffsetSource, ledger: OffsetStore, away: tuple[type[Exception], ...]
) -> None:
    """Until cancelled. `away`: what the servers raise while they are gone; then nothing is noted, which is true."""
    while True:
        try:
            if lane.settled:
                await ledger.note_caught_up(lambda: caught_up(lane, kafka))
        except away as error:
            log.info("what is caught up with could not be noted: %s", type(error).__name__)
        await asyncio.sleep(NOTE_SECONDS)
