from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from els_stream.consumer.end_offsets import ask
from els_stream.consumer.fetcher import FetchHealth
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.retries import Retries
from els_stream.consumer.status import ConsumerStatus
from els_stream.kafka.offsets import Partition
from tests.support.consumer_fakes import part_at


@dataclass
class Log:
    """A partition that was read up to `position` when it ended there, and goes on to `end`."""

    position: int
    end: int

    async def ends(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(partitions, self.end)

    def unread(self, partition: Partition, end: int) -> int | None:
        del partition
        return max(self.position, end) - self.position


async def test_the_lag_of_a_worker_that_fetches_nothing_grows_with_the_log() -> None:
    lane = PartitionBuffers(BufferLimits(100, 1_000_000))
    lane.join([part_at()])
    state = ConsumerStatus(lane, Retries(), str)
    log = Log(position=0, end=0)
    state.attach(FetchHealth(), log)
    assert [part.records for part in state.lag()] == [0]

    log.end = 500
    await ask(lane, log)

    assert [part.records for part in state.lag()] == [500]
