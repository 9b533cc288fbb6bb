"""Fetches of several partitions at once, each from the offset that the caller names: the fetcher's side of Kafka.

aiokafka moves its position when it hands records out, also when the call that drained them fails or is given up and
they reach no caller. So no fetch relies on that position: each begins where everything before is known to be queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from els_stream.consumer.partition_state import FetchedRecord
from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import ReadFailure, read_failure


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was read of one partition.

    The broker has no other readable records between the start and the position than these: what is missing are
    transaction markers, aborted or compacted records. `high_watermark` is the end of the log, 0 if it is not known.
    """

    records: Sequence[FetchedRecord]
    position: int
    high_watermark: int = 0
    failure: ReadFailure | None = None
    undecodable: frozenset[int] = frozenset()


class FetchClient(Protocol):
    """The Kafka client as a fetch uses it. Only `wait` and `drain` suspend."""

    def position(self, partition: Partition) -> int | None:
        """Return the offset after the last record handed out or skipped; None while it is not known."""

    def high_watermark(self, partition: Partition) -> int: ...
    def seek(self, partition: Partition, offset: int) -> None: ...
    def ready(self, partitions: Collection[Partition]) -> list[Partition]:
        """Return those of the partitions for which records, or an error, have arrived."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait until something arrives for any partition, at most so long."""

    async def drain(self, partition: Partition) -> Sequence[FetchedRecord]:
        """Hand out what has arrived for the partition and move its position, or raise the error."""
        ...


class PartitionReader:
    """Fetches for one caller after the other: a fetch that was given up ends before the next one begins."""

    def __init__(self, stopped: tuple[type[Exception], ...]) -> None:
        """`stopped`: errors of the client as a whole, which are raised; all others are of a partition."""
        self._stopped = stopped
        self._lock = asyncio.Lock()

    async def fetch(
        self, client: FetchClient, starts: Mapping[Partition, int], seconds: float
    ) -> dict[Partition, Fetched]:
        """Return what was read of each partition from its start on; waits up to `seconds` while there is nothing."""
        async with self._lock:
            for tp, start in starts.items():
                if client.position(tp) != start:
                    client.seek(tp, start)
            if not client.ready(starts.keys()):
                await client.wait(seconds)
            fetched = {tp: Fetched((), start, client.high_watermark(tp)) for tp, start in starts.items()}
            for tp in client.ready(starts.keys()):
                fetched[tp] = await self._drain(client, tp, starts[tp])
            return fetched

    async def _drain(self, client: FetchClient, partition: Partition, start: int) -> Fetched:
        """Drain one partition alone, so that its error takes no record of another."""
        if client.position(partition) != start:  # moved while others were drained; the next fetch seeks
            return Fetched((), start)
        try:
            records = await client.drain(partition)
        except self._stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, only this partition is concerned
            return Fetched((), start, failure=read_failure(error))
        position = client.position(partition)
        if position is None:
            return Fetched((), start)
        return Fetched(records, position, client.high_watermark(partition))
