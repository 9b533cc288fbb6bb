"""A Kafka client over made-up logs that misbehaves at will, for the property test of the fetch path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from uuid import UUID

from els_stream.consumer.partition_reads import FetchClient, Fetched, PartitionReader
from els_stream.consumer.start_offsets import LogState, PartitionUnavailable
from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import ReadFailure
from tests.support.consumer_fakes import FakeRecord

READ_RECORDS = 4


class OutOfRangeError(Exception):
    """The fake of aiokafka's OffsetOutOfRangeError."""


@dataclass
class FakePartitionLog:
    """Records by offset, from `beginning` to `end`; the other offsets hold none. A `bad` one can't be decoded."""

    records: dict[int, FakeRecord]
    end: int
    beginning: int = 0
    bad: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)

    def delete_before(self, beginning: int) -> None:
        self.beginning = max(self.beginning, min(beginning, self.end))
        self.deleted |= {offset for offset in self.records if offset < self.beginning}

    def read(self, start: int) -> tuple[list[FakeRecord], int, bool]:
        """Return records, the position after them, and whether a bad one follows."""
        if not self.beginning <= start <= self.end:
            raise OutOfRangeError
        found: list[FakeRecord] = []
        for offset in range(start, self.end):
            if offset in self.bad:
                return found, offset, True
            if offset in self.records:
                found.append(self.records[offset])
            if len(found) == READ_RECORDS:
                return found, offset + 1, False
        return found, self.end, False


class FakeClient(FetchClient):
    """aiokafka's consumer. `misbehave` chooses the fault of each drain."""

    def __init__(self, logs: Mapping[Partition, FakePartitionLog], misbehave: Callable[[], str]) -> None:
        self.logs = logs
        self.misbehave = misbehave
        self.positions: dict[Partition, int] = dict.fromkeys(logs, 0)
        self.last: dict[Partition, Sequence[FakeRecord]] = {}

    def position(self, partition: Partition) -> int | None:
        return self.positions.get(partition)

    def high_watermark(self, partition: Partition) -> int:
        return self.logs[partition].end

    def seek(self, partition: Partition, offset: int) -> None:
        self.positions[partition] = offset

    def ready(self, partitions: Collection[Partition]) -> list[Partition]:
        return [tp for tp in self.logs if tp in partitions]

    async def wait(self, seconds: float) -> None:
        del seconds

    async def drain(self, partition: Partition) -> Sequence[FakeRecord]:
        log, start = self.logs[partition], self.positions[partition]
        fault = self.misbehave()
        if fault == "raise":
            raise OSError
        if fault == "repeat" and partition in self.last:
            return self.last[partition]
        records, position, bad = log.read(start)
        if bad:
            raise UnicodeDecodeError("utf-8", b"\xe4", 0, 1, "made up")
        self.positions[partition] = position
        if fault == "lose":  # returned by no fetch
            raise OSError
        self.last[partition] = records
        if fault == "rewind others":
            self.positions.update({tp: log.beginning for tp in self.logs if tp != partition})
        if fault == "forward others":
            self.positions.update({tp: self.logs[tp].end for tp in self.logs if tp != partition})
        return records


class FakeKafka:
    """Kafka for the fetcher: our reader over the fake client. A fetch may end in an error after it was done."""

    def __init__(self, logs: Mapping[Partition, FakePartitionLog], misbehave: Callable[[], str]) -> None:
        self.logs = logs
        self.misbehave = misbehave
        self._client = FakeClient(logs, misbehave)
        self._reader = PartitionReader(())

    def assignment(self) -> AbstractSet[Partition]:
        return set(self.logs)

    def is_active(self) -> bool:
        return True

    async def topic_ids(self, topics: AbstractSet[str]) -> Mapping[str, UUID]:
        del topics
        return {}

    async def log_states(
        self, partitions: AbstractSet[Partition]
    ) -> Mapping[Partition, LogState | PartitionUnavailable]:
        away = self.misbehave() == "raise"
        return {
            tp: PartitionUnavailable("made up") if away else LogState(self.logs[tp].beginning, self.logs[tp].end, None)
            for tp in partitions
        }

    async def fetch(self, starts: Mapping[Partition, int], seconds: float) -> Mapping[Partition, Fetched]:
        fetched = await self._reader.fetch(self._client, starts, seconds)
        if self.misbehave() == "give up":
            raise OSError
        return {tp: _named(result) for tp, result in fetched.items()}

    async def fetch_alone(self, partition: Partition, start: int) -> Fetched:
        try:
            records, position, bad = self.logs[partition].read(start)
        except OutOfRangeError:
            return Fetched((), start, failure=ReadFailure("OutOfRangeError", out_of_range=True))
        return Fetched(records, position, failure=ReadFailure("CorruptRecordException") if bad else None)


def _named(fetched: Fetched) -> Fetched:
    failure = fetched.failure
    if failure is None or failure.cause != "OutOfRangeError":
        return fetched
    return Fetched(fetched.records, fetched.position, failure=ReadFailure(failure.cause, out_of_range=True))
