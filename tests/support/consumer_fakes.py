"""Hand-written stand-ins for Kafka, PostgreSQL and time, as far as the intake looks at them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from els_stream.backoff import Backoff
from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome, ConsumerContext
from els_stream.consumer.batch_processor import BatchProcessor
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_state import MicroBatch, PartitionState, records_of, spans_of, take
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.retries import Retries
from els_stream.consumer.start_offsets import LogState
from els_stream.consumer.transaction import AttemptResult, Committed, FailedRecord, RolledBack
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.events.records import RawRecord
from els_stream.kafka.offsets import Partition, RecordFingerprint, StoredOffset, fingerprint_of
from tests.support.waiting import until


@dataclass(frozen=True)
class Fetched:
    """As aiokafka's ConsumerRecord."""

    offset: int
    value: bytes | None = b"value"
    key: bytes | None = None
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def mark(self) -> RecordFingerprint:
        return fingerprint_of(self.timestamp, self.key, self.value)


def fetched(first: int, count: int) -> list[Fetched]:
    return [Fetched(offset, f"value {offset}".encode()) for offset in range(first, first + count)]


def part_at(
    next_offset: int = 0, *, topic: str = "alpha", partition: int = 0, mark: RecordFingerprint | None = None
) -> PartitionState:
    return PartitionState(Partition(topic, partition), StoredOffset(next_offset, mark), check=mark is not None)


@dataclass(frozen=True)
class Outcome:
    label: str = "done"


@dataclass
class FakeOffsetStore:
    rows: dict[Partition, StoredOffset] = field(default_factory=dict)

    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        return {tp: self.rows[tp] for tp in partitions if tp in self.rows}

    async def adopt(self, offsets: Mapping[Partition, int]) -> None:
        for tp, offset in offsets.items():
            self.rows.setdefault(tp, StoredOffset(offset, None))

    async def restart(self, lost: Mapping[Partition, tuple[int, int]]) -> AbstractSet[Partition]:
        moved = {tp for tp, (seen, _) in lost.items() if self.rows[tp].next_offset == seen}
        self.rows.update((tp, StoredOffset(lost[tp][1], None)) for tp in moved)
        return moved


@dataclass
class FakeLog:
    state: dict[Partition, LogState] = field(default_factory=dict)
    records: dict[Partition, list[Fetched]] = field(default_factory=dict)
    seeks: list[Mapping[Partition, int]] = field(default_factory=list)
    asked: list[AbstractSet[Partition]] = field(default_factory=list)
    positions: dict[Partition, int] = field(default_factory=dict)
    touched: int = 0
    on_fetch: Callable[[], None] = lambda: None
    on_states: Callable[[], None] = lambda: None

    def assignment(self) -> AbstractSet[Partition]:
        return set(self.state)

    def flowing(self) -> bool:
        return True

    async def states(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, LogState]:
        states = {tp: self.state[tp] for tp in partitions}
        self.on_states()
        return states

    async def seek(self, where: Mapping[Partition, int]) -> None:
        self.seeks.append(where)

    async def fetch(self, partitions: AbstractSet[Partition], seconds: float) -> Mapping[Partition, Sequence[Fetched]]:
        del seconds
        self.asked.append(partitions)
        self.on_fetch()
        return {tp: self.records.pop(tp) for tp in partitions if tp in self.records}

    def position(self, partition: Partition) -> int | None:
        return self.positions.get(partition)

    async def touch(self) -> None:
        self.touched += 1


class Stage:
    """A settler whose transactions commit into lists, and fail as the records' values and `script` say."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lane = PartitionBuffers(BufferLimits(1000, 1_000_000), clock=lambda: self.now)
        self.ledger = FakeOffsetStore()
        self.retries = Retries()
        around = ConsumerContext(
            self.lane, self.ledger, Backoff(0.001, 0.002), NullMetrics(), self.retries, self._remark
        )
        self.settler = BatchProcessor(self, BatchOutcome("agent", around))
        self.script: list[ClassifiedError] = []
        self.commit_then_fail = False
        self.bad_release = False
        self.done: list[str] = []
        self.buried: list[tuple[str, str]] = []
        self.tried: list[list[str]] = []

    def batch(self, *values: str, partition: int = 0) -> MicroBatch:
        """These values, taken from a part of their own that stands where the ledger does."""
        tp = Partition("alpha", partition)
        row = self.ledger.rows.setdefault(tp, StoredOffset(0, None))
        part = PartitionState(tp, row, check=False)
        self.lane.join([part])
        part.receive([Fetched(row.next_offset + n, value.encode()) for n, value in enumerate(values)], "alpha")
        return take([part], 1000, 1_000_000)

    async def attempt(
        self, batch: MicroBatch, suspects: Sequence[FailedRecord] = (), *, behind: BatchOrder
    ) -> AttemptResult:
        del behind
        values = [_text(record) for record in records_of(batch)]
        self.tried.append(values)
        if self.script:
            return RolledBack(self.script.pop(0))
        for value in values:
            if self.bad_release or value.startswith("bug"):
                return RolledBack(ClassifiedError(FailureClass.UNEXPECTED, "LookupError"))
            if value.startswith("refuse"):
                return RolledBack(ClassifiedError(FailureClass.DATA_ERROR, "22012"))
            if value.startswith("slow"):
                return RolledBack(ClassifiedError(FailureClass.TIMED_OUT, "57014"))
            if value.startswith("broken"):
                return RolledBack(ClassifiedError(FailureClass.FATAL, "42P01"))
        return self._commit(batch, suspects, values)

    def _commit(self, batch: MicroBatch, suspects: Sequence[FailedRecord], values: Sequence[str]) -> AttemptResult:
        spans = spans_of((*(suspect.run for suspect in suspects), *batch))
        if any(self.ledger.rows[span.partition].next_offset != span.start for span in spans):
            return RolledBack(ClassifiedError(FailureClass.OFFSET_CONFLICT, "LedgerMoved"))
        self.ledger.rows.update((span.partition, StoredOffset(span.stop, span.fingerprint)) for span in spans)
        self.done += values
        self.buried += [(_text(record), suspect.reason) for suspect in suspects for record in suspect.run.records]
        if self.commit_then_fail:
            self.commit_then_fail = False
            return RolledBack(ClassifiedError(FailureClass.TRANSIENT, "ConnectionDoesNotExistError"))
        return Committed(values, [Outcome()] * len(values), 0.0, 0.0)

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, every=0)

    def _remark(self, readings: Sequence[object], _outcomes: Sequence[object]) -> list[dict[str, str]]:
        return [{"value": str(reading)} for reading in readings]

    def next_offset(self, partition: int = 0) -> int:
        return self.ledger.rows[Partition("alpha", partition)].next_offset

    def held(self, partition: int = 0) -> bool:
        return Partition("alpha", partition) in self.lane.holds


def _text(record: RawRecord) -> str:
    return (record.value or b"").decode()


def offsets(batch: MicroBatch) -> list[int]:
    return [record.offset for record in records_of(batch)]
