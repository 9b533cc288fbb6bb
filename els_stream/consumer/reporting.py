"""What the intake tells whoever counts: narrow, so that tests and benchmarks may leave it silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ConsumerEvent(StrEnum):
    """What can happen on the lane that an operator should be able to see; a closed set, for counting."""

    GAP_ACCEPTED = "gap_accepted"  # offsets that are no longer in Kafka (retention, compaction, markers)
    READ_AGAIN = "read_again"
    TOPIC_MADE_ANEW = "topic_made_anew"
    WENT_BACK = "went_back"
    GROUP_DIFFERED = "group_differed"
    FETCH_FAILED = "fetch_failed"
    POSITION_FAILED = "position_failed"
    COMMIT_FAILED = "commit_failed"
    PART_DROPPED = "part_dropped"
    PART_HELD = "part_held"
    REBALANCED = "rebalanced"


@dataclass(frozen=True, slots=True)
class BatchTimings:
    """Seconds of one micro-batch: all of it, its handler's work, and its commit."""

    whole: float
    handler: float
    commit: float


class ConsumerMetrics(Protocol):
    def handled(self, agent: str, outcomes: Mapping[str, int], records: int, took: BatchTimings) -> None:
        """A micro-batch is committed; `outcomes` counts the handler's outcomes by their labels."""

    def failed(self, agent: str, verdict: str, cause: str) -> None: ...
    def buried(self, agent: str, reason: str) -> None: ...
    def occurred(self, occurrence: ConsumerEvent, count: int = 1) -> None: ...


class NullMetrics:
    """Counts nothing."""

    def handled(self, agent: str, outcomes: Mapping[str, int], records: int, took: BatchTimings) -> None: ...
    def failed(self, agent: str, verdict: str, cause: str) -> None: ...
    def buried(self, agent: str, reason: str) -> None: ...
    def occurred(self, occurrence: ConsumerEvent, count: int = 1) -> None: ...
