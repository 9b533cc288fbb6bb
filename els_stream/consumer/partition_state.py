"""The state of one partition during one assignment: its queue of records, and the offset that each step has reached.

Each assignment makes a new object. After a rebalance, a restart or a pause of the partition the old object has `active`
false for whoever still refers to it. Offsets only grow: committed_offset <= next_take_offset <= next_fetch_offset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from els_stream.events.records import RawRecord
from els_stream.kafka.offsets import Partition, RecordFingerprint, StoredOffset, fingerprint_of

# Memory of a queued record beside its key and value: the Python objects around them, measured roughly.
RECORD_OVERHEAD_BYTES = 300


class FetchedRecord(Protocol):
    """The attributes of aiokafka's ConsumerRecord that are read here."""

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
    """The records continue the partition and are queued. Kafka no longer has the `skipped` offsets before them."""

    skipped: int


@dataclass(frozen=True, slots=True)
class RefetchGap:
    """The first gap at this place: fetch once more from `offset` before accepting it."""

    offset: int


@dataclass(frozen=True, slots=True)
class LogReplaced:
    """The last processed record has another fingerprint now: the topic was deleted and created again."""


@dataclass(frozen=True, slots=True)
class PositionReset:
    """The client moved its position back by itself: find the start offset again."""


ReceiveResult: TypeAlias = Queued | RefetchGap | LogReplaced | PositionReset


class PartitionState:
    __slots__ = (
        "_gap_at",
        "active",
        "committed_offset",
        "expected_fingerprint",
        "log_end_offset",
        "next_fetch_offset",
        "next_take_offset",
        "partition",
        "position",
        "queue",
        "queued_bytes",
        "reported_offset",
    )

    def __init__(self, partition: Partition, stored: StoredOffset, *, verify_last_record: bool) -> None:
        """With `verify_last_record` the first fetched record should be the last one that was processed."""
        self.partition = partition
        self.active = True
        self.next_fetch_offset = self.next_take_offset = self.committed_offset = stored.next_offset
        self.reported_offset: int | None = None  # the group's offset, as this worker last committed it to Kafka
        self.log_end_offset = 0  # as the broker last returned it
        self.position: int | None = None  # the client's position when everything it had fetched was queued
        self.expected_fingerprint: RecordFingerprint | None = stored.fingerprint if verify_last_record else None
        self.queue: deque[RawRecord] = deque()
        self.queued_bytes = 0
        self._gap_at: int | None = None

    def receive(self, records: Sequence[FetchedRecord], topic: str) -> ReceiveResult:
        """Queue the records if they continue the partition; otherwise leave it as it is. `topic`: the logical name."""
        expected, self.expected_fingerprint = self.expected_fingerprint, None
        if expected is not None and records[0].offset == self.next_fetch_offset - 1:
            if fingerprint_of(records[0].timestamp, records[0].key, records[0].value) != expected:
                return LogReplaced()
            records = records[1:]
        if not records:
            return Queued(0)
        first = records[0].offset
        if first < self.next_fetch_offset:
            return PositionReset()
        if first > self.next_fetch_offset and self._gap_at != first:
            self._gap_at = first
            return RefetchGap(self.next_fetch_offset)
        skipped = first - self.next_fetch_offset
        for record in records:
            self._enqueue(record, topic)
        self.next_fetch_offset = records[-1].offset + 1
        return Queued(skipped)

    def _enqueue(self, record: FetchedRecord, topic: str) -> None:
        headers = tuple((name, value or b"") for name, value in record.headers) if record.headers else ()
        raw = RawRecord(
            topic, self.partition.partition, record.offset, record.timestamp, record.key, record.value, headers
        )
        self.queue.append(raw)
        self.queued_bytes += record_size(raw)

    def close(self) -> None:
        """End this assignment of the partition: nothing more is queued or taken."""
        self.active = False
        self.queue.clear()
        self.queued_bytes = 0


def record_size(record: RawRecord) -> int:
    """Return roughly how many bytes of memory a queued record takes."""
    return RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")
