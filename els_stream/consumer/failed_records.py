"""Remembers, for one agent of this process, which records failed alone and whether other records succeeded since."""

from __future__ import annotations

from typing import Final

from els_stream.consumer.micro_batch import PartitionRecords
from els_stream.kafka.offsets import OffsetRange

# It failed, others succeeded, it failed, others succeeded, it failed: the second failure is between two successes.
FAILURES_NEEDED: Final = 3


class FailedRecordTracker:
    """Distinguishes a record that is at fault from one that failed because something else was wrong.

    If no record succeeds, the release is at fault and no record is dead-lettered, however often it restarts. A success
    after the failure proves no more: a server may have been ill at the failure and well since. A record is at fault
    when it failed between two successes of others.
    """

    def __init__(self) -> None:
        self._succeeded = 0
        # The number of failures with a success of another record before each but the first, and when the last one was.
        self._failures: dict[OffsetRange, tuple[int, int]] = {}

    def count_succeeded(self, records: int) -> None:
        self._succeeded += records

    def add(self, record: PartitionRecords) -> None:
        """Record that this record failed alone; failures without a success of others between them count once."""
        failures, succeeded = self._failures.get(record.offset_range, (0, -1))
        if record.state.active and self._succeeded > succeeded:
            self._failures[record.offset_range] = failures + 1, self._succeeded

    def is_at_fault(self, record: PartitionRecords) -> bool:
        """Return whether a failure of this record was between two successes of other records."""
        failures, _ = self._failures.get(record.offset_range, (0, -1))
        return failures >= FAILURES_NEEDED

    def remove(self, record: PartitionRecords) -> None:
        self._failures.pop(record.offset_range, None)
