"""A part is one assignment of one partition: its queue of records, and how far each stage of the lane got.

The object's identity is the generation: after a rebalance, a drop or a hold there is another part, and whoever still
holds the old one sees `live` false. Offsets only grow: done <= tail <= expected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from els_stream.events.records import RawRecord
from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, StoredOffset, fingerprint_of

# What a queued record costs beside its bytes: the objects around them, measured roughly.
RECORD_OVERHEAD_BYTES = 300


class FetchedRecord(Protocol):
    """The part of aiokafka's ConsumerRecord that the lane reads."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


@dataclass(frozen=True, slots=True)
class Queued:
    """The records continue the partition and lie in the queue. `skipped` offsets before them are no longer in Kafka."""

    skipped: int


@dataclass(frozen=True, slots=True)
class RefetchGap:
    """The first gap at this place: fetch again from `offset` before believing it."""

    offset: int


@dataclass(frozen=True, slots=True)
class LogReplaced:
    """The record before the first one is not the one that was handled: the topic was made anew."""


@dataclass(frozen=True, slots=True)
class PositionReset:
    """The client reset its position by itself: position anew."""


Received: TypeAlias = Queued | RefetchGap | LogReplaced | PositionReset


class PartitionState:
    __slots__ = (
        "_gap_at",
        "check",
        "done",
        "end",
        "expected",
        "fetched_to",
        "live",
        "partition",
        "queue",
        "queued_bytes",
        "sent",
        "tail",
    )

    def __init__(self, partition: Partition, row: StoredOffset, *, check: bool) -> None:
        """With `check` the first record fetched should be the last one handled."""
        self.partition = partition
        self.live = True
        self.expected = self.tail = self.done = row.next_offset
        self.sent: int | None = None  # what the group was told
        self.end = 0  # of the log, as the broker said when it was last asked
        self.fetched_to: int | None = None  # where the client stood when all that it had brought was queued
        self.check: RecordFingerprint | None = row.fingerprint if check else None
        self.queue: deque[RawRecord] = deque()
        self.queued_bytes = 0
        self._gap_at: int | None = None

    def receive(self, records: Sequence[FetchedRecord], topic: str) -> Received:
        """Queues what continues the partition; anything else leaves the part as it was."""
        check, self.check = self.check, None
        if check is not None and records[0].offset == self.expected - 1:
            if fingerprint_of(records[0].timestamp, records[0].key, records[0].value) != check:
                return LogReplaced()
            records = records[1:]
        if not records:
            return Queued(0)
        first = records[0].offset
        if first < self.expected:
            return PositionReset()
        if first > self.expected and self._gap_at != first:
            self._gap_at = first
            return RefetchGap(self.expected)
        skipped = first - self.expected
        for record in records:
            self._put(record, topic)
        self.expected = records[-1].offset + 1
        return Queued(skipped)

    def _put(self, record: FetchedRecord, topic: str) -> None:
        headers = tuple((name, value or b"") for name, value in record.headers) if record.headers else ()
        raw = RawRecord(
            topic, self.partition.partition, record.offset, record.timestamp, record.key, record.value, headers
        )
        self.queue.append(raw)
        self.queued_bytes += size_of(raw)

    def kill(self) -> None:
        self.live = False
        self.queue.clear()
        self.queued_bytes = 0


def size_of(record: RawRecord) -> int:
    return RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Consecutive records of one part, and the offset `lo` where their span begins."""

    part: PartitionState
    lo: int
    records: Sequence[RawRecord]

    @property
    def hi(self) -> int:
        return self.records[-1].offset + 1

    @property
    def span(self) -> OffsetRange:
        last = self.records[-1]
        return OffsetRange(self.part.partition, self.lo, self.hi, fingerprint_of(last.timestamp, last.key, last.value))


MicroBatch: TypeAlias = tuple[PartitionRecords, ...]


def alive(batch: MicroBatch) -> MicroBatch:
    return tuple(run for run in batch if run.part.live)


def records_of(batch: MicroBatch) -> list[RawRecord]:
    return [record for run in batch for record in run.records]


def spans_of(batch: MicroBatch) -> list[OffsetRange]:
    """One span per partition, sorted: pieces of one partition that follow each other are joined."""
    joined: dict[Partition, OffsetRange] = {}
    for run in batch:
        span = run.span
        before = joined.get(span.partition)
        joined[span.partition] = (
            span if before is None else OffsetRange(span.partition, before.start, span.stop, span.fingerprint)
        )
    return sorted(joined.values(), key=lambda span: span.partition)


def halves(batch: MicroBatch) -> tuple[MicroBatch, MicroBatch]:
    """Both keep the order within each partition; the first holds the earlier records."""
    left = sum(len(run.records) for run in batch) // 2
    first: list[PartitionRecords] = []
    second: list[PartitionRecords] = []
    for run in batch:
        cut = min(left, len(run.records))
        left -= cut
        if cut:
            first.append(PartitionRecords(run.part, run.lo, run.records[:cut]))
        if cut < len(run.records):
            lo = run.records[cut - 1].offset + 1 if cut else run.lo
            second.append(PartitionRecords(run.part, lo, run.records[cut:]))
    return tuple(first), tuple(second)


def one_by_one(batch: MicroBatch) -> Iterator[PartitionRecords]:
    """Each record as a run of its own, in order."""
    for run in batch:
        lo = run.lo
        for record in run.records:
            yield PartitionRecords(run.part, lo, (record,))
            lo = record.offset + 1


def take(parts: Sequence[PartitionState], max_records: int, max_bytes: int) -> MicroBatch:
    """What is queued, one part after the other, within both limits; at least one record if there is any.

    So where much waits, a micro-batch is of one partition, and the next of another: records are keyed by their batch,
    and the two don't want the same rows. The tails move: what was taken is a transaction's business from now on.
    """
    batch: list[PartitionRecords] = []
    for part in parts:
        records: list[RawRecord] = []
        while part.queue and max_records > 0:
            size = size_of(part.queue[0])
            if size > max_bytes and (batch or records):
                max_records = 0
                break
            records.append(part.queue.popleft())
            part.queued_bytes -= size
            max_bytes -= size
            max_records -= 1
        if records:
            batch.append(PartitionRecords(part, part.tail, records))
            part.tail = batch[-1].hi
    return tuple(batch)
