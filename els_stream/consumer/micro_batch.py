"""Micro-batches: the records that one transaction processes, taken from the queues of one or more partitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from els_stream.consumer.partition_state import PartitionState, record_size
from els_stream.events.records import RawRecord
from els_stream.kafka.offsets import OffsetRange, Partition, fingerprint_of


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Consecutive records of one partition, at least one. Their offset range begins at `start`.

    `start` may be below the first record's offset: offsets without a record belong to the range that follows them.
    """

    state: PartitionState
    start: int
    records: Sequence[RawRecord]

    @property
    def stop(self) -> int:
        return self.records[-1].offset + 1

    @property
    def offset_range(self) -> OffsetRange:
        last = self.records[-1]
        fingerprint = fingerprint_of(last.timestamp, last.key, last.value)
        return OffsetRange(self.state.partition, self.start, self.stop, fingerprint)


MicroBatch: TypeAlias = tuple[PartitionRecords, ...]


def only_active(batch: MicroBatch) -> MicroBatch:
    """Leave out the partitions that this worker no longer owns."""
    return tuple(piece for piece in batch if piece.state.active)


def records_of(batch: MicroBatch) -> list[RawRecord]:
    return [record for piece in batch for record in piece.records]


def undecodable_records(batch: MicroBatch) -> list[PartitionRecords]:
    """Return the records of the batch that no handler should get, each alone: they become dead letters as they are."""
    return [
        PartitionRecords(piece.state, record.offset, (record,))
        for piece in batch
        if piece.state.undecodable
        for record in piece.records
        if record.offset in piece.state.undecodable
    ]


def offset_ranges(batch: MicroBatch) -> list[OffsetRange]:
    """Return one range per partition, sorted; consecutive pieces of one partition are joined."""
    joined: dict[Partition, OffsetRange] = {}
    for piece in batch:
        new = piece.offset_range
        before = joined.get(new.partition)
        joined[new.partition] = (
            new if before is None else OffsetRange(new.partition, before.start, new.stop, new.fingerprint)
        )
    return sorted(joined.values(), key=lambda offset_range: offset_range.partition)


def split(batch: MicroBatch) -> tuple[MicroBatch, MicroBatch]:
    """Halve the batch; both halves keep the order within each partition, and the first has the earlier records."""
    left = sum(len(piece.records) for piece in batch) // 2
    first: list[PartitionRecords] = []
    second: list[PartitionRecords] = []
    for piece in batch:
        cut = min(left, len(piece.records))
        left -= cut
        if cut:
            first.append(PartitionRecords(piece.state, piece.start, piece.records[:cut]))
        if cut < len(piece.records):
            start = piece.records[cut - 1].offset + 1 if cut else piece.start
            second.append(PartitionRecords(piece.state, start, piece.records[cut:]))
    return tuple(first), tuple(second)


def single_records(batch: MicroBatch) -> Iterator[PartitionRecords]:
    """Yield each record alone, in order."""
    for piece in batch:
        start = piece.start
        for record in piece.records:
            yield PartitionRecords(piece.state, start, (record,))
            start = record.offset + 1


class KeysInFlight:
    """The record keys of a micro-batch that is processed, collected when they are first needed."""

    def __init__(self, batch: MicroBatch) -> None:
        self._batch = batch

    @cached_property
    def keys(self) -> frozenset[bytes]:
        return frozenset(record.key for piece in self._batch for record in piece.records if record.key is not None)

    def has_one_of(self, records: Iterable[RawRecord]) -> bool:
        return any(record.key in self.keys for record in records)


def take_records(
    states: Iterable[PartitionState], max_records: int, max_bytes: int, in_flight: Collection[KeysInFlight] = ()
) -> MicroBatch:
    """Take queued records, one partition after the other, within both limits; at least one record if there is any.

    With a long queue one micro-batch is of one partition and the next of another. Records are keyed by batch, so the
    two do not need the same rows.

    A partition whose records have a key that is `in_flight` is left out: their transaction would only wait for that
    one, while in the queue others join them. They are taken if the micro-batch is full, so that no others could.
    """
    batch: list[PartitionRecords] = []
    for state in states:
        queued_bytes = state.queued_bytes
        records, full = _pop(state, max_records, max_bytes, at_least_one=not batch)
        if in_flight and not full and any(keys.has_one_of(records) for keys in in_flight):
            state.queue.extendleft(reversed(records))
            state.queued_bytes = queued_bytes
            continue
        max_records -= len(records)
        max_bytes -= queued_bytes - state.queued_bytes
        if records:
            batch.append(PartitionRecords(state, state.next_take_offset, records))
            state.next_take_offset = batch[-1].stop
        if full:
            break
    return tuple(batch)


def _pop(
    state: PartitionState, max_records: int, max_bytes: int, *, at_least_one: bool
) -> tuple[list[RawRecord], bool]:
    """Remove records from the queue, within both limits; the second value says whether a limit is reached."""
    records: list[RawRecord] = []
    queue = state.queue
    while queue and len(records) < max_records:
        size = record_size(queue[0])
        if size > max_bytes and (records or not at_least_one):
            return records, True
        records.append(queue.popleft())
        state.queued_bytes -= size
        max_bytes -= size
    return records, len(records) >= max_records
