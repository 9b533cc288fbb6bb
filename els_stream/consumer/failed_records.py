"""Remembers, for one agent of this process, which records failed alone and whether other records succeeded since."""

from __future__ import annotations

from els_stream.consumer.micro_batch import PartitionRecords
from els_stream.kafka.offsets import OffsetRange


class FailedRecordTracker:
    """If no record succeeds, the release is at fault and no record is dead-lettered, however often it restarts."""

    def __init__(self) -> None:
        self._succeeded = 0
        self._succeeded_before: dict[OffsetRange, int] = {}

    def count_succeeded(self, records: int) -> None:
        self._succeeded += records

    def add(self, record: PartitionRecords) -> None:
        """Remember that this record failed alone; the time of its first failure counts."""
        if record.state.active:
            self._succeeded_before.setdefault(record.offset_range, self._succeeded)

    def other_records_succeeded(self, record: PartitionRecords) -> bool:
        """Return whether any record succeeded since this one first failed; false for an unknown record."""
        return self._succeeded > self._succeeded_before.get(record.offset_range, self._succeeded)

    def remove(self, record: PartitionRecords) -> None:
        self._succeeded_before.pop(record.offset_range, None)
