"""Remembers, for one agent in one process, which records failed alone and whether others passed since."""

from __future__ import annotations

from els_stream.consumer.partition_state import PartitionRecords
from els_stream.kafka.offsets import OffsetRange


class FailedRecordTracker:
    """A release under which nothing passes has no evidence against any record, however often it restarts."""

    def __init__(self) -> None:
        self._passed = 0
        self._failed: dict[OffsetRange, int] = {}

    def passed(self, records: int) -> None:
        self._passed += records

    def note(self, run: PartitionRecords) -> None:
        """It failed and nothing passed after it; the count of its first failure stays."""
        if run.part.live:
            self._failed.setdefault(run.span, self._passed)

    def others_passed(self, run: PartitionRecords) -> bool:
        return self._passed > self._failed.get(run.span, self._passed)

    def forget(self, run: PartitionRecords) -> None:
        self._failed.pop(run.span, None)
