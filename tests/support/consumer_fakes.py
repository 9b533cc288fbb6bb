"""Hand-written fakes of Kafka, the offset store and transactions, as far as the consumer uses them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from uuid import UUID

from els_stream.backoff import Backoff
from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome, ConsumerContext, RetryingAgents
from els_stream.consumer.batch_processor import BatchProcessor
from els_stream.consumer.fetcher import FetchOptions
from els_stream.consumer.micro_batch import MicroBatch, offset_ranges, records_of, take_records
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_reads import Fetched
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import LogState, PartitionUnavailable
from els_stream.consumer.transaction import (
    AttemptResult,
    Committed,
    FailedRecord,
    RehearsalResult,
    Rehearsed,
    RolledBack,
)
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.events.records import RawRecord
from els_stream.kafka.offsets import Partition, RecordFingerprint, StoredOffset, fingerprint_of
from els_stream.kafka.partition_read import ReadFailure
from tests.support.waiting import until


@dataclass(frozen=True)
class FakeRecord:
    """Has the attributes of aiokafka's ConsumerRecord."""

    offset: int
    value: bytes | None = b"value"
    key: bytes | None = None
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def fingerprint(self) -> RecordFingerprint:
        return fingerprint_of(self.timestamp, self.key, self.value)


FETCH_OPTIONS = FetchOptions(Backoff(0.001, 0.002), (OSError,), str)


def fake_records(first: int, count: int) -> list[FakeRecord]:
    return [FakeRecord(offset, f"value {offset}".encode()) for offset in range(first, first + count)]


def partition_at(
    next_offset: int = 0, *, topic: str = "alpha", partition: int = 0, fingerprint: RecordFingerprint | None = None
) -> PartitionState:
    """Return the state of a partition that goes on at `next_offset`."""
    stored = StoredOffset(next_offset, fingerprint)
    return PartitionState(Partition(topic, partition), stored, verify_last_record=fingerprint is not None)


def offsets_of(batch: MicroBatch) -> list[int]:
    return [record.offset for record in records_of(batch)]


@dataclass(frozen=True)
class Outcome:
    label: str = "done"


@dataclass
class FakeOffsetStore:
    rows: dict[Partition, StoredOffset] = field(default_factory=dict)
    lost: dict[Partition, set[int]] = field(default_factory=dict)

    async def record_lost(self, partition: Partition, first: int, last: int) -> None:
        self.lost.setdefault(partition, set()).update(range(first, last + 1))

    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        return {tp: self.rows[tp] for tp in partitions if tp in self.rows}

    async def initialize(self, offsets: Mapping[Partition, int]) -> None:
        for tp, offset in offsets.items():
            self.rows.setdefault(tp, StoredOffset(offset, None))

    async def adopt_topic_ids(self, partitions: Collection[Partition], topic_ids: Mapping[str, UUID]) -> None:
        self.rows.update((tp, replace(self.rows[tp], topic_id=topic_ids[tp.topic])) for tp in partitions)

    async def reset(self, replaced: Mapping[Partition, tuple[int, int]]) -> AbstractSet[Partition]:
        moved = {tp for tp, (stored, _) in replaced.items() if self.rows[tp].next_offset == stored}
        self.rows.update((tp, StoredOffset(replaced[tp][1], None)) for tp in moved)
        return moved


@dataclass
class FakeLog:
    """Kafka for the fetcher: the next fetch returns `records`; `fetches` are the calls."""

    state: dict[Partition, LogState | PartitionUnavailable] = field(default_factory=dict)
    records: dict[Partition, list[FakeRecord]] = field(default_factory=dict)
    positions: dict[Partition, int] = field(default_factory=dict)
    fetches: list[Mapping[Partition, int]] = field(default_factory=list)
    failures: dict[Partition, ReadFailure] = field(default_factory=dict)
    on_fetch: Callable[[], None] = lambda: None
    ids: dict[str, UUID] = field(default_factory=dict)
    on_log_states: Callable[[], None] = lambda: None

    def assignment(self) -> AbstractSet[Partition]:
        return set(self.state)

    def is_active(self) -> bool:
        return True

    async def topic_ids(self, topics: AbstractSet[str]) -> Mapping[str, UUID]:
        return {topic: self.ids[topic] for topic in topics if topic in self.ids}

    async def log_states(
        self, partitions: AbstractSet[Partition]
    ) -> Mapping[Partition, LogState | PartitionUnavailable]:
        states = {tp: self.state[tp] for tp in partitions}
        self.on_log_states()
        return states

    async def fetch(self, starts: Mapping[Partition, int], seconds: float) -> Mapping[Partition, Fetched]:
        del seconds
        self.fetches.append(starts)
        self.on_fetch()
        return {tp: self._fetched(tp, start) for tp, start in starts.items()}

    async def fetch_alone(self, partition: Partition, start: int) -> Fetched:
        return self._fetched(partition, start)

    def _fetched(self, partition: Partition, start: int) -> Fetched:
        records = self.records.pop(partition, [])
        position = records[-1].offset + 1 if records else start
        return Fetched(records, self.positions.get(partition, position), failure=self.failures.get(partition))

    def connection_problem(self) -> str | None:
        return None

    def has_leader(self, partition: Partition) -> bool:
        return not isinstance(self.state.get(partition), PartitionUnavailable)


class ProcessorHarness:
    """A batch processor whose transactions commit into lists, and fail as record values and `failures` say."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.buffers = PartitionBuffers(BufferLimits(1000, 1_000_000), clock=lambda: self.now)
        self.store = FakeOffsetStore()
        self.retrying = RetryingAgents()
        self.context = ConsumerContext(
            self.buffers, self.store, Backoff(0.001, 0.002), NullMetrics(), self.retrying, self._log_fields
        )
        self.processor = BatchProcessor(self, BatchOutcome("agent", self.context))
        self.failures: list[ClassifiedError] = []  # of the next attempts
        self.commit_then_fail = False
        self.bad_release = False
        self.processed: list[str] = []
        self.dead_letters: list[tuple[str, str]] = []
        self.attempts: list[list[str]] = []

    async def process(self, batch: MicroBatch) -> None:
        await self.processor.process(batch, BatchOrder())

    def batch(self, *values: str, partition: int = 0) -> MicroBatch:
        """Take these values from a partition that goes on at its stored offset."""
        tp = Partition("alpha", partition)
        stored = self.store.rows.setdefault(tp, StoredOffset(0, None))
        state = PartitionState(tp, stored, verify_last_record=False)
        self.buffers.add([state])
        records = [FakeRecord(stored.next_offset + n, value.encode()) for n, value in enumerate(values)]
        state.receive(records, "alpha")
        return take_records([state], 1000, 1_000_000)

    async def attempt(
        self, batch: MicroBatch, failed: Sequence[FailedRecord] = (), *, order: BatchOrder
    ) -> AttemptResult:
        del order
        return self._fault(batch) or self._commit(batch, failed, [_text(record) for record in records_of(batch)])

    async def rehearse(
        self, batch: MicroBatch, failed: Sequence[FailedRecord], *, order: BatchOrder
    ) -> RehearsalResult:
        del order, failed
        return self._fault(batch) or Rehearsed()

    def _fault(self, batch: MicroBatch) -> RolledBack | None:
        values = [_text(record) for record in records_of(batch)]
        self.attempts.append(values)
        if self.failures:
            return RolledBack(self.failures.pop(0))
        for value in values:
            if self.bad_release or value.startswith("bug"):
                return RolledBack(ClassifiedError(FailureClass.UNEXPECTED, "LookupError"))
            if value.startswith("refuse"):
                return RolledBack(ClassifiedError(FailureClass.DATA_ERROR, "22012"))
            if value.startswith("slow"):
                return RolledBack(ClassifiedError(FailureClass.TIMED_OUT, "57014"))
            if value.startswith("broken"):
                return RolledBack(ClassifiedError(FailureClass.FATAL, "42P01"))
        return None

    def _commit(self, batch: MicroBatch, failed: Sequence[FailedRecord], values: Sequence[str]) -> AttemptResult:
        ranges = offset_ranges((*(one.record for one in failed), *batch))
        if any(self.store.rows[one.partition].next_offset != one.start for one in ranges):
            return RolledBack(ClassifiedError(FailureClass.OFFSET_CONFLICT, "OffsetConflict"))
        self.store.rows.update((one.partition, StoredOffset(one.stop, one.fingerprint)) for one in ranges)
        self.processed += values
        self.dead_letters += [(_text(record), one.reason) for one in failed for record in one.record.records]
        if self.commit_then_fail:
            self.commit_then_fail = False
            return RolledBack(ClassifiedError(FailureClass.TRANSIENT, "ConnectionDoesNotExistError"))
        return Committed(values, [Outcome()] * len(values), 0.0, 0.0)

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, every=0)

    def _log_fields(self, decoded: Sequence[object], _outcomes: Sequence[object]) -> list[dict[str, str]]:
        return [{"value": str(one)} for one in decoded]

    def next_offset(self, partition: int = 0) -> int:
        return self.store.rows[Partition("alpha", partition)].next_offset

    def paused(self, partition: int = 0) -> bool:
        return Partition("alpha", partition) in self.buffers.paused


def _text(record: RawRecord) -> str:
    return (record.value or b"").decode()
