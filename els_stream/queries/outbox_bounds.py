"""Lower bounds for the positions of segments: up to its bound a shard has none, and will never have one.

While another session holds an old snapshot, PostgreSQL keeps the index entries of all segments that were deleted since,
and a scan from the start of a shard visits each of them. A scan from a bound does not.

Positions are drawn from a sequence before the commit, so a lower one may appear after a higher one. But a writer has a
transaction id when it draws a position (`outbox`). So once all transactions up to some id have ended, no position can
appear that was drawn before that id was assigned; and what a fetch does not find by then was deleted, or rolled back.
Transactions that only read have no id, however long they last.

Bounds belong to a session, so they end with the server that they are true of: after a failover the sequence may be
behind. They are given up from time to time as well, for rows with old positions that somebody restores by hand.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

MARK_INTERVAL_SECONDS: Final = 5.0
GIVE_UP_INTERVAL_SECONDS: Final = 300.0

# The position is read before the id is assigned, and no id is assigned while no position was drawn. A role may lack the
# right to read the sequence; and with a cache in each session, positions are drawn before they are used.
_MARK: Final = text("""
    SELECT drawn.position,
           CASE WHEN drawn.position > :marked THEN CAST(CAST(pg_current_xact_id() AS text) AS bigint) END AS transaction
    FROM (
        SELECT CASE WHEN has_sequence_privilege(s.seqrelid, 'SELECT, USAGE') THEN pg_sequence_last_value(s.seqrelid) END
               AS position
        FROM pg_sequence s
        WHERE s.seqrelid = CAST(pg_get_serial_sequence('outbox_segments', 'position') AS regclass) AND s.seqcache = 1
        OFFSET 0
    ) drawn
""")
_KEY: Final = "outbox_bounds"


class _Mark(NamedTuple):
    """All positions up to this one were drawn before this transaction id was assigned."""

    position: int
    transaction: int


class OutboxBounds:
    """The bounds of one session."""

    def __init__(self) -> None:
        self._bounds: dict[int, int] = {}
        self._final = 0  # no position up to it can appear any more
        self._mark: _Mark | None = None
        self._marked = 0
        self._mark_at = 0.0
        self._since = time.monotonic()

    @classmethod
    def of(cls, conn: AsyncConnection) -> OutboxBounds:
        """Return the bounds of the session of this connection."""
        bounds: OutboxBounds = conn.info.setdefault(_KEY, cls())
        return bounds

    def __getitem__(self, shard: int) -> int:
        """Return a position that is below those of all segments of the shard, now and later."""
        return self._bounds.get(shard, 0)

    def note(self, scanned: Sequence[int], first: Mapping[int, int], oldest_running: int) -> None:
        """Raise the bounds of the shards that a fetch has scanned.

        `first` has the lowest position that it found in each, none for an empty one. All transactions with ids below
        `oldest_running` had ended before it.
        """
        if self._mark is not None and self._mark.transaction < oldest_running:
            self._final, self._mark = self._mark.position, None
        for shard in scanned:
            lowest = first.get(shard, self._final + 1)
            self._bounds[shard] = max(self[shard], min(self._final, lowest - 1))

    async def mark(self, conn: AsyncConnection) -> None:
        """Note from time to time how far positions were drawn, outside of any transaction."""
        now = time.monotonic()
        if now - self._since >= GIVE_UP_INTERVAL_SECONDS:
            self._bounds.clear()
            self._since = now
        if self._mark is not None or now < self._mark_at:
            return
        self._mark_at = now + MARK_INTERVAL_SECONDS
        drawn = (await conn.execute(_MARK, {"marked": self._marked})).one_or_none()
        if drawn is None or drawn.position is None:
            return
        if drawn.position < self._marked:  # somebody has set the sequence back
            self._bounds, self._final, self._marked = {}, 0, 0
        elif drawn.transaction is not None:
            self._mark = _Mark(drawn.position, drawn.transaction)
            self._marked = drawn.position
