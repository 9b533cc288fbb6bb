"""The number of rows that wait in the outbox, and the age of the oldest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.queries.outbox_rows import SHARD_COUNT

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_MAX_COUNTED: Final = 100_000

_READ_BACKLOG = text("""
    SELECT (SELECT coalesce(sum(events), 0) FROM (SELECT events FROM outbox_segments LIMIT :limit) counted)
               + (SELECT count(*) FROM (SELECT FROM event_outbox LIMIT :limit) counted) AS rows,
           (SELECT count(*) FROM (SELECT FROM event_outbox WHERE next_attempt_at IS NOT NULL LIMIT :limit) counted)
               AS deferred,
           -- One index probe per shard and table: the lowest position is the oldest, but for concurrent writers and
           -- exceptions that were moved late.
           coalesce(extract(epoch FROM now() - (
               SELECT min(o.created_at)
               FROM generate_series(0, :last_shard) AS s (shard)
               CROSS JOIN LATERAL (
                   (SELECT e.created_at FROM event_outbox e WHERE e.shard = s.shard ORDER BY e.position LIMIT 1)
                   UNION ALL
                   (SELECT e.created_at FROM outbox_segments e WHERE e.shard = s.shard ORDER BY e.position LIMIT 1)
               ) o)), 0) AS oldest_seconds
""")


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """All events that wait, and those of them that are deferred, counted up to 100 000 segments and exceptions."""

    rows: int
    deferred: int
    oldest_seconds: float


async def read_backlog(conn: AsyncConnection) -> OutboxBacklog:
    """Return the numbers of rows, and the age of the oldest one in seconds (0 without rows)."""
    found = await conn.execute(_READ_BACKLOG, {"limit": _MAX_COUNTED, "last_shard": SHARD_COUNT - 1})
    rows, deferred, oldest_seconds = found.one()
    return OutboxBacklog(rows, deferred, float(oldest_seconds))
