"""Reads the end offsets of the assigned partitions periodically, for the lag and for the input watermark.

The lag needs them because a worker that fetches nothing would otherwise not see its own lag grow. The watermark of a
partition is the last time at which everything in it was processed; deadlines are judged by it. It comes only from end
offsets that were reached, never from the timestamps of records, which are the clocks of their senders.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from els_stream.consumer.open_transactions import OpenTransactions
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.partition_state import EndOffset, PartitionState
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.kafka.offsets import Partition, Watermark
from els_stream.tasks import run_every

log = logging.getLogger(__name__)

REFRESH_INTERVAL_SECONDS: Final = 2.0
CLOCK_TOLERANCE_SECONDS: Final = 5.0


class EndOffsetSource(Protocol):
    async def end_offsets(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        """Return the offsets up to which records can be read: the first open transaction, or the end of the log."""

    async def topic_ids(self, topics: AbstractSet[str]) -> Mapping[str, UUID]:
        """Return the broker's ids of these topics; empty if it has none."""

    async def high_watermarks(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        """Return the ends of the logs; without partitions that have no leader."""


class WatermarkStore(Protocol):
    async def database_time(self) -> datetime: ...
    async def store_watermarks(self, watermarks: Mapping[Partition, Watermark]) -> None: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class EndOffsets:
    """`clock` is this worker's own, the second witness of the time beside the database's."""

    def __init__(
        self,
        buffers: PartitionBuffers,
        kafka: EndOffsetSource,
        store: WatermarkStore,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._buffers = buffers
        self._kafka = kafka
        self._store = store
        self._clock = clock
        self._clocks_differ = False
        self._transactions = OpenTransactions()

    async def run(self, errors: tuple[type[Exception], ...]) -> None:
        """Refresh periodically until cancelled. `errors`: what Kafka and the database raise while they are away."""

        async def refresh() -> None:
            try:
                await self.refresh()
            except errors as error:
                log.info("end offsets or watermark could not be refreshed: %s", type(error).__name__)

        await run_every(REFRESH_INTERVAL_SECONDS, refresh)

    async def refresh(self) -> None:
        """Read topic ids and end offsets; then store the watermarks of the partitions that reached an end offset.

        A watermark is a time from before its end offset was read. While the database is away the end offsets are
        refreshed all the same.
        """
        if not self._buffers.partitions:
            return
        asked_at = await self._time() if self._buffers.assignment_ready else None
        await self._restart_recreated()
        # A deadline waits also for records that can't be read yet, so the ends of the logs count for the watermark.
        # They are read first: otherwise a transaction that ends in between would look open.
        ends = await self._kafka.high_watermarks(set(self._buffers.partitions))
        readable = await self._kafka.end_offsets(set(self._buffers.partitions))
        states = dict(self._buffers.partitions)
        for tp, state in states.items():
            state.log_end_offset = readable.get(tp, state.log_end_offset)
            if tp in readable and tp in ends:
                self._transactions.update(state, ends[tp])
        if asked_at is not None:
            await self._store_watermarks(states, ends, asked_at)

    async def _restart_recreated(self) -> None:
        """Position the partitions of topics anew that were deleted and created again since they were positioned."""
        ids = await self._kafka.topic_ids({tp.topic for tp in self._buffers.partitions})
        for tp, state in list(self._buffers.partitions.items()):
            if ids.get(tp.topic) not in {None, state.topic_id}:
                log.warning("%s: the topic has another id than the one that is read; it is positioned again", tp)
                self._buffers.restart_partition(state)

    async def _store_watermarks(
        self, states: Mapping[Partition, PartitionState], ends: Mapping[Partition, int], asked_at: datetime
    ) -> None:
        reached = {tp: reached_at(states[tp], EndOffset(end, asked_at)) for tp, end in ends.items() if tp in states}
        watermarks = {
            tp: Watermark(states[tp].committed_offset, until, read_until)
            for tp, until in reached.items()
            if until is not None and (read_until := processed_offset(states[tp])) is not None
        }
        if watermarks:
            await self._store.store_watermarks(watermarks)

    async def _time(self) -> datetime | None:
        """Return the earlier of two clocks, so that one that runs ahead moves no watermark past the truth."""
        try:
            time = await self._store.database_time()
        except DATABASE_ERRORS as error:
            log.info("the watermark is not stored: %s", type(error).__name__)
            return None
        here = self._clock()
        ahead = (time - here).total_seconds()
        differ = abs(ahead) > CLOCK_TOLERANCE_SECONDS
        if differ and not self._clocks_differ:
            log.warning("the database's clock is %.0f s ahead of this host's; the earlier time counts", ahead)
        self._clocks_differ = differ
        return min(time, here)


def reached_at(state: PartitionState, end: EndOffset) -> datetime | None:
    """Return the latest time of which everything in the partition is processed; None if no later one is known.

    A busy partition never stands at its newest end offset, so an earlier one is remembered until it is reached.
    """
    offset = processed_offset(state)
    if offset is None:
        return None
    if offset >= end.offset:
        state.awaited_end = None
        return end.asked_at
    awaited = state.awaited_end
    if awaited is None or offset >= awaited.offset:
        state.awaited_end = end
    return awaited.asked_at if awaited is not None and offset >= awaited.offset else None


def processed_offset(state: PartitionState) -> int | None:
    """Return the offset up to which everything is processed, also past transaction markers; None if it is unknown."""
    # `state.position`, not the client's own: that is already past records on their way to the queue. It is lower while
    # the last processed record is still to be compared with the log.
    if not state.active or state.position is None or state.position < state.next_fetch_offset:
        return None
    return state.position if state.committed_offset == state.next_fetch_offset else state.committed_offset
