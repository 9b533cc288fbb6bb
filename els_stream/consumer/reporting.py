"""The metrics that the consumer records: a narrow interface, so that tests and benchmarks need no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ConsumerEvent(StrEnum):
    """Events of consuming that an operator should see; values of the label `event` of a metric."""

    OFFSET_GAP_SKIPPED = "offset_gap_skipped"  # offsets that Kafka deleted before they were read (retention)
    TOPIC_RECREATED = "topic_recreated"  # the topic was deleted and created again: read from its beginning
    POSITION_RESET = "position_reset"  # the log ends before our position, or other records came than were asked for
    GROUP_OFFSET_MISMATCH = "group_offset_mismatch"  # the group's offset differed from the stored one, which won
    FETCH_FAILED = "fetch_failed"
    POSITION_FAILED = "position_failed"  # start offsets could not be read
    COMMIT_FAILED = "commit_failed"  # the group's offsets could not be written
    PARTITION_RESTARTED = "partition_restarted"  # another owner advanced the stored offset: positioned again
    PARTITION_PAUSED = "partition_paused"
    REBALANCED = "rebalanced"
    LOOP_BLOCKED = "loop_blocked"  # the worker's event loop did not run for some time


@dataclass(frozen=True, slots=True)
class BatchTimings:
    """Seconds that one micro-batch took: in total, in the handler's `apply`, and in the commit."""

    total: float
    handler: float
    commit: float


class ConsumerMetrics(Protocol):
    def record_batch(self, agent: str, outcomes: Mapping[str, int], records: int, timings: BatchTimings) -> None:
        """Count a committed micro-batch; `outcomes` counts the handler's outcomes by label."""

    def record_drift(
        self, agent: str, outcomes: Mapping[str, int], decoded: Sequence[object], results: Sequence[object]
    ) -> None:
        """Look at a committed micro-batch for changes of the senders; `results` has an outcome per decoded record."""

    def record_failure(self, agent: str, failure_class: str, cause: str) -> None: ...
    def record_dead_letter(self, agent: str, reason: str) -> None: ...
    def record_event(self, event: ConsumerEvent, count: int = 1) -> None: ...


class NullMetrics:
    """Records nothing."""

    def record_batch(self, agent: str, outcomes: Mapping[str, int], records: int, timings: BatchTimings) -> None: ...
    def record_drift(
        self, agent: str, outcomes: Mapping[str, int], decoded: Sequence[object], results: Sequence[object]
    ) -> None: ...
    def record_failure(self, agent: str, failure_class: str, cause: str) -> None: ...
    def record_dead_letter(self, agent: str, reason: str) -> None: ...
    def record_event(self, event: ConsumerEvent, count: int = 1) -> None: ...
