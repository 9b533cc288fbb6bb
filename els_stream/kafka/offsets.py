"""Value types of partitions and offsets, shared by the consumer, the queries and the commands."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Partition(NamedTuple):
    """A topic under the broker's name (with the prefix) and a number; equal to the tuples of Kafka clients."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class RecordFingerprint(NamedTuple):
    """Timestamp in milliseconds and CRC-32 of a record. A recreated topic has another record at the same offset."""

    timestamp: int
    crc: int


def fingerprint_of(timestamp: int, key: bytes | None, value: bytes | None) -> RecordFingerprint:
    """Return the fingerprint of a record; its CRC covers key and value."""
    return RecordFingerprint(timestamp, zlib.crc32(value or b"", zlib.crc32(key or b"")))


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """The next offset to process, and the fingerprint of the record before it (None before the first record).

    `topic_id` is the broker's id of the topic; None until it is known. The offsets from `next_offset` up to
    `read_until` hold no records, but transaction markers for instance; None until it is known.
    """

    next_offset: int
    fingerprint: RecordFingerprint | None
    topic_id: UUID | None = None
    read_until: int | None = None


@dataclass(frozen=True, slots=True)
class Watermark:
    """Everything that a partition had at `processed_until` is processed once its stored offset is `next_offset`.

    The offsets from there up to `read_until` hold no records.
    """

    next_offset: int
    processed_until: datetime
    read_until: int


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets that one transaction processes in one partition: `start` inclusive, `stop` exclusive.

    `fingerprint` is that of the last record.
    """

    partition: Partition
    start: int
    stop: int
    fingerprint: RecordFingerprint


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The number of offsets from the next one to process to the last readable one; `topic` is the logical name.

    `unreadable` are those after it, of upstream transactions that have been open for `open_transaction_seconds`.
    """

    topic: str
    partition: int
    records: int
    unreadable: int = 0
    open_transaction_seconds: float = 0.0
