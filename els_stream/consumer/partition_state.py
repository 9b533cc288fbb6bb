"""The state of one partition during one assignment: its queue of records, and the offset that each step has reached.

Each assignment makes a new object. After a rebalance, a restart or a pause of the partition the old object has `active`
false for whoever still refers to it. Offsets only grow: committed_offset <= next_take_offset <= next_fetch_offset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
    """The records continue the partition and are queued."""


@dataclass(frozen=True, slots=True)
class LogReplaced:
    """The last processed record has another fingerprint now: the topic was deleted and created again."""


@dataclass(frozen=True, slots=True)
class PositionReset:
    """The client returned records before the position that it was given: find the start offset again."""


ReceiveResult: TypeAlias = Queued | LogReplaced | PositionReset


@dataclass(frozen=True, slots=True)
class FetchPause:
    """Fetches of this partition failed `times` in a row at `offset`; the next one is at `until` or later."""

    offset: int
    cause: str
    times: int
    until: float


@dataclass(frozen=True, slots=True)
class EndOffset:
    """The end of the log as the broker returned it after `asked_at`."""

    offset: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """An upstream transaction is open: `records` from `offset` on are in the log and can't be read yet.

    `since`: when it was first seen, by the monotonic clock.
    """

    offset: int
    records: int
    since: float


class PartitionState:
    __slots__ = (
        "active",
        "awaited_end",
        "committed_offset",
        "expected_fingerprint",
        "fetch_pause",
        "log_end_offset",
        "next_fetch_offset",
        "next_take_offset",
        "open_transaction",
        "partition",
        "position",
        "queue",
        "queued_bytes",
        "read_until",
        "reported_offset",
        "topic_id",
        "undecodable",
    )

    def __init__(self, partition: Partition, stored: StoredOffset, *, verify_last_record: bool) -> None:
        """With `verify_last_record` the first fetched record should be the last one that was processed."""
        self.partition = partition
        self.topic_id = stored.topic_id
        self.read_until = stored.read_until or 0  # no record lies between the stored offset and it
        self.active = True
        self.next_fetch_offset = self.next_take_offset = self.committed_offset = stored.next_offset
        self.reported_offset: int | None = None  # the group's offset, as this worker last committed it to Kafka
        self.log_end_offset = 0  # as the broker last returned it
        self.open_transaction: OpenTransaction | None = None
        self.awaited_end: EndOffset | None = None  # the watermark moves once this one is reached
        self.position: int | None = None  # past all that was queued and holds no record; None before the first fetch
        self.expected_fingerprint: RecordFingerprint | None = stored.fingerprint if verify_last_record else None
        self.queue: deque[RawRecord] = deque()
        self.queued_bytes = 0
        self.fetch_pause: FetchPause | None = None
        self.undecodable: set[int] = set()  # offsets of queued records that become dead letters as they are

    @property
    def start(self) -> int:
        """Return the offset that the next fetch begins at: what lies before it was queued, or holds no record."""
        if self.position is not None:
            return self.position
        return self.next_fetch_offset if self.expected_fingerprint is None else self.next_fetch_offset - 1

    @property
    def lag(self) -> int:
        """Return how many offsets up to the known end of the log are not processed yet, without transaction markers."""
        fetched = max(self.next_fetch_offset, self.position or 0)
        return max(0, self.log_end_offset - fetched) + self.next_fetch_offset - self.committed_offset

    def receive(self, records: Sequence[FetchedRecord], topic: str, position: int | None = None) -> ReceiveResult:
        """Queue what a fetch from `start` on returned; if it does not continue the partition, leave all as it is.

        Offsets that are missing before and between the records hold none: transaction markers, aborted or compacted
        records. `topic` is the logical name, `position` the end of the fetch if it lies after the last record.
        """
        if records and not self._continues(records[0]):
            return PositionReset()
        expected = self.expected_fingerprint
        if records and records[0].offset == self.next_fetch_offset - 1:
            check, *records = records
            if fingerprint_of(check.timestamp, check.key, check.value) != expected:
                return LogReplaced()
            self.expected_fingerprint = None
        if records:
            self.expected_fingerprint = None
            for record in records:
                self._enqueue(record, topic)
            self.next_fetch_offset = records[-1].offset + 1
        self.position = max(position or 0, self.start, 0 if self.expected_fingerprint else self.next_fetch_offset)
        return Queued()

    def give_up_verification(self) -> bool:
        """Go on without the last processed record, which can't be read; return false if nothing else proves the log.

        The id of the topic proves that it was not created again since the offset was stored.
        """
        if self.expected_fingerprint is None or self.topic_id is None:
            return False
        self.expected_fingerprint = self.position = None
        return True

    def _continues(self, first: FetchedRecord) -> bool:
        checked = self.expected_fingerprint is not None
        return first.offset >= (self.next_fetch_offset - 1 if checked else self.next_fetch_offset)

    def lost_before(self, beginning: int) -> int:
        """Return how many offsets that may have held records are lost if the log begins there now."""
        return max(0, beginning - max(self.start, self.next_fetch_offset, self.read_until))

    def skip_lost(self, beginning: int) -> int:
        """Go on at the log's new beginning; return how many offsets are lost."""
        lost = self.lost_before(beginning)
        self.position, self.expected_fingerprint = beginning, None
        return lost

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
