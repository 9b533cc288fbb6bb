"""How much waits in the outbox, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.queries.outbox import SHARES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_COUNTED_AT_MOST: Final = 100_000

_WAITING = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM event_outbox LIMIT :limit) counted) AS rows,
           (SELECT count(*) FROM (SELECT FROM event_outbox WHERE next_attempt_at IS NOT NULL LIMIT :limit) counted)
               AS held,
           -- One probe per shard: the first position of a shard is its oldest row, give or take a transaction.
           coalesce(extract(epoch FROM now() - (
               SELECT min(o.created_at)
               FROM generate_series(0, :last_shard) AS s (shard)
               CROSS JOIN LATERAL (SELECT e.created_at FROM event_outbox e WHERE e.shard = s.shard
                                   ORDER BY e.position LIMIT 1) o)), 0) AS oldest_seconds
""")


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """`rows` and `held` are counted up to 100 000: the gauge must stay cheap when the outbox is not."""

    rows: int
    held: int
    oldest_seconds: float


async def waiting(conn: AsyncConnection) -> OutboxBacklog:
    found = await conn.execute(_WAITING, {"limit": _COUNTED_AT_MOST, "last_shard": SHARES - 1})
    rows, held, oldest_seconds = found.one()
    return OutboxBacklog(rows, held, float(oldest_seconds))
