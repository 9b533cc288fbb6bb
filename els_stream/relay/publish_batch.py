"""What a lane works on, and where it comes from: a look at the outbox, or a transaction of this process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.queries.outbox import WaitingRow
    from els_stream.relay.shard_leases import Lease


@dataclass(frozen=True, slots=True)
class ShardReservation:
    """A shard into which a transaction writes the rows that it hands over.

    `looks` is how many looks at the outbox had been counted when it was lent.
    """

    tenure: Lease
    looks: int

    @property
    def shard(self) -> int:
        (shard,) = self.tenure.shards
        return shard


@dataclass(frozen=True, slots=True)
class PublishBatch:
    """Each key's rows in order; their shards are busy until the work is finished.

    `looks` is that of the loan; None for what was fetched.
    """

    tenure: Lease
    rows: Sequence[WaitingRow]
    looks: int | None = None

    @property
    def shards(self) -> frozenset[int]:
        return frozenset(row.shard for row in self.rows)


class DirectQueue:
    """Work that waits for a lane, first come, first served, and no more than so many bytes of it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[PublishBatch, int]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, work: PublishBatch) -> bool:
        """False: it has no room, and its rows wait in the outbox."""
        size = sum(len(row.value or b"") + len(row.headers) for row in work.rows)
        if self._bytes + size > self._most_bytes:
            return False
        self._waiting.append((work, size))
        self._bytes += size
        return True

    def take(self) -> PublishBatch:
        work, size = self._waiting.popleft()
        self._bytes -= size
        return work
