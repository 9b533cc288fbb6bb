"""The audit log of purges and erasures: what was removed and when, without personal data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

_BEGIN = text("""
    INSERT INTO purge_log (action, class_type, older_than_days, batches, removed)
    VALUES (:action, :class_type, :days, 0, '{}') RETURNING id
""")
# Only finished runs count: the next round continues one that was stopped or killed. A run for older batches only does
# not count either.
_FINISHED_WITHIN = text("""
    SELECT EXISTS (SELECT FROM purge_log
                   WHERE action = :action AND older_than_days <= :days AND finished_at IS NOT NULL
                     AND started_at > clock_timestamp() - CAST(:every AS interval))
""")
_WRITE = text("UPDATE purge_log SET batches = :batches, removed = CAST(:removed AS jsonb) WHERE id = :id")
_FINISH = text("UPDATE purge_log SET finished_at = clock_timestamp() WHERE id = :id")


async def begin(conn: AsyncConnection, action: str, class_type: str | None, days: int | None = None) -> int:
    """Add an entry in which nothing is removed yet; return its id."""
    params = {"action": action, "class_type": class_type, "days": days}
    return int((await conn.execute(_BEGIN, params)).scalar_one())


async def write(conn: AsyncConnection, log_id: int, batches: int, removed: Mapping[str, int]) -> None:
    """Store the totals in the transaction that removed the rows, so a killed run has a correct entry too."""
    await conn.execute(_WRITE, {"id": log_id, "batches": batches, "removed": json.dumps(dict(removed))})


async def finish(conn: AsyncConnection, log_id: int) -> None:
    """Mark the run as finished: nothing was left to remove."""
    await conn.execute(_FINISH, {"id": log_id})


async def finished_within(conn: AsyncConnection, action: str, days: int, every: timedelta) -> bool:
    """Return whether a finished run for batches of at least `days` days began within the last `every`."""
    params = {"action": action, "days": days, "every": every}
    return bool((await conn.execute(_FINISHED_WITHIN, params)).scalar_one())
