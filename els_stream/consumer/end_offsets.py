"""Asks for the ends of our partitions while nothing is fetched: a worker that stalls must see its own lag grow."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from els_stream.consumer.caught_up import EndOffsetSource
from els_stream.consumer.partition_buffers import PartitionBuffers

log = logging.getLogger(__name__)

ASK_SECONDS: Final = 2.0


async def ask(lane: PartitionBuffers, kafka: EndOffsetSource) -> None:
    ends = await kafka.ends(set(lane.parts)) if lane.parts else {}
    for tp, end in ends.items():
        if (part := lane.parts.get(tp)) is not None:
            part.end = end


async def keep_asking(lane: PartitionBuffers, kafka: EndOffsetSource, away: tuple[type[Exception], ...]) -> None:
    """Until cancelled. `away`: what the broker raises while it is gone; the last ends stay."""
    while True:
        try:
            await ask(lane, kafka)
        except away as error:
            log.debug("the ends of the logs could not be asked for: %s", type(error).__name__)
        await asyncio.sleep(ASK_SECONDS)
