"""Where a worker stands in a partition, as intake and statements say it to each other. Pure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NamedTuple


class Partition(NamedTuple):
    """A topic as the broker knows it, with its prefix, and a number; equal to the tuples of Kafka clients."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class RecordFingerprint(NamedTuple):
    """What a record is recognised by: a topic made anew holds another record at the same offset."""

    timestamp: int
    crc: int


def mark_of(timestamp: int, key: bytes | None, value: bytes | None) -> RecordFingerprint:
    return RecordFingerprint(timestamp, zlib.crc32(value or b"", zlib.crc32(key or b"")))


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """`mark` is the last handled record's, at `next_offset - 1`; none while nothing was handled."""

    next_offset: int
    mark: RecordFingerprint | None


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """What one transaction handles of one partition: from `lo` up to, not with, `hi`; `mark` is its last record's."""

    partition: Partition
    lo: int
    hi: int
    mark: RecordFingerprint


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`records` by positions: the end of the partition less what was handled. `topic` is the logical one."""

    topic: str
    partition: int
    records: int
