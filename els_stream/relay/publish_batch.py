"""What a publisher works on: events that a poll fetched, or that a transaction of this process committed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.queries.outbox_rows import WaitingRow
    from els_stream.queries.outbox_segments import Segment
    from els_stream.relay.shards import Lease


@dataclass(frozen=True, slots=True)
class PublishBatch:
    """Segments to publish, those of each shard in order, and exceptions; their shards are in use until it is completed.

    Events of the keys in `blocked` wait for exceptions: they are moved there instead of being sent.
    """

    lease: Lease
    segments: Sequence[Segment]
    exceptions: Sequence[WaitingRow] = ()
    blocked: frozenset[str] = frozenset()
    rows: Sequence[WaitingRow] = field(init=False)  # to be sent, each key's in order
    size: int = field(init=False)  # the number of events, with those of blocked keys

    def __post_init__(self) -> None:
        rows = [*self.exceptions]
        for segment in self.segments:
            rows += segment.rows
        object.__setattr__(self, "size", len(rows))
        if self.blocked:
            waiting = {id(row) for row in self.exceptions}
            rows = [row for row in rows if id(row) in waiting or row.order_key not in self.blocked]
        object.__setattr__(self, "rows", rows)

    @property
    def shards(self) -> frozenset[int]:
        return frozenset([*(one.shard for one in self.segments), *(row.shard for row in self.exceptions)])


class DirectQueue:
    """Committed events that wait for a publisher, first in, first out, up to `max_bytes` in all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[PublishBatch, int]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, batch: PublishBatch) -> bool:
        """Add the batch, or return False if it has no room; its events then wait in the outbox."""
        size = sum(segment.bytes for segment in batch.segments)
        if self._bytes + size > self._max_bytes:
            return False
        self._waiting.append((batch, size))
        self._bytes += size
        return True

    def take(self) -> PublishBatch:
        """Remove and return the oldest batch; IndexError if there is none."""
        batch, size = self._waiting.popleft()
        self._bytes -= size
        return batch
