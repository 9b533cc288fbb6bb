"""What readiness, liveness and metrics ask of the intake: why it does not get on, and how far behind it is.

Everything here is declared: a worker that retries, holds, rebalances or stops is doing what it should.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from els_stream.consumer.fetcher import FetchHealth
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.retries import Retries
from els_stream.kafka.offsets import Partition, PartitionLag


class Positions(Protocol):
    def unread(self, partition: Partition, end: int) -> int | None: ...


class ConsumerStatus:
    """Before the consumer is made there is no trouble and no lag, and the lane is not settled."""

    def __init__(self, lane: PartitionBuffers, retries: Retries, logical: Callable[[str], str]) -> None:
        self._lane = lane
        self._retries = retries
        self._logical = logical
        self._trouble = FetchHealth()
        self._positions: Positions | None = None

    def attach(self, trouble: FetchHealth, positions: Positions) -> None:
        self._trouble = trouble
        self._positions = positions

    @property
    def stopping(self) -> bool:
        return self._lane.stopping

    @property
    def assignment_ready(self) -> bool:
        return self._lane.settled

    @property
    def retrying(self) -> Mapping[str, str]:
        """Agents that try again what might work later."""
        return dict(self._retries.causes)

    @property
    def paused(self) -> Mapping[str, str]:
        """Partitions that are neither fetched nor taken until a pause is over, then read again from the ledger."""
        return {str(tp): hold.cause for tp, hold in self._lane.holds.items()}

    @property
    def errors(self) -> Mapping[str, str]:
        troubles = {"positioning": self._trouble.positioning, "fetch": self._trouble.fetching}
        return {part: cause for part, cause in troubles.items() if cause is not None}

    @property
    def last_commit_at(self) -> float:
        return self._lane.progress_at

    def lag(self) -> list[PartitionLag]:
        """By positions: after transaction markers the difference of offsets would never reach zero."""
        if self._positions is None:
            return []
        return [
            PartitionLag(
                self._logical(tp.topic),
                tp.partition,
                (self._positions.unread(tp, part.end) or 0) + part.expected - part.done,
            )
            for tp, part in sorted(self._lane.parts.items())
        ]
