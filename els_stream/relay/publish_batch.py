"""What a publisher works on: rows that a poll fetched, or rows that a transaction of this process committed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.queries.outbox_rows import WaitingRow
    from els_stream.relay.shard_leases import Lease


@dataclass(frozen=True, slots=True)
class ShardReservation:
    """A shard reserved for the rows of one transaction of this process.

    `polls` is the dispatcher's poll counter at the time of the reservation.
    """

    lease: Lease
    polls: int

    @property
    def shard(self) -> int:
        (shard,) = self.lease.shards
        return shard


@dataclass(frozen=True, slots=True)
class PublishBatch:
    """Rows to publish, each key's in order; their shards are in use until the batch is completed.

    `polls` is that of the reservation, None for rows that a poll fetched.
    """

    lease: Lease
    rows: Sequence[WaitingRow]
    polls: int | None = None

    @property
    def shards(self) -> frozenset[int]:
        return frozenset(row.shard for row in self.rows)


class DirectQueue:
    """Committed rows that wait for a publisher, first in, first out, up to `max_bytes` in all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[PublishBatch, int]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, batch: PublishBatch) -> bool:
        """Add the batch, or return False if it has no room; its rows then wait in the outbox."""
        size = sum(len(row.value or b"") + len(row.headers) for row in batch.rows)
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
