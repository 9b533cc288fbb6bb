"""The record of purges and erasures: what went, when, and never of whom."""

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
# Only what came to its end counts: a run that was stopped or killed is gone on with at the next look. Nor does a
# command that was about older batches than these.
_FINISHED_WITHIN = text("""
    SELECT EXISTS (SELECT FROM purge_log
                   WHERE action = :action AND older_than_days <= :days AND finished_at IS NOT NULL
                     AND started_at > clock_timestamp() - CAST(:every AS interval))
""")
_ADD = text("UPDATE purge_log SET batches = :batches, removed = CAST(:removed AS jsonb) WHERE id = :id")
_FINISH = text("UPDATE purge_log SET finished_at = clock_timestamp() WHERE id = :id")


async def begin(conn: AsyncConnection, action: str, class_type: str | None, days: int | None = None) -> int:
    """The id of a new record, of nothing removed so far."""
    asked = {"action": action, "class_type": class_type, "days": days}
    return int((await conn.execute(_BEGIN, asked)).scalar_one())


async def write(conn: AsyncConnection, log_id: int, batches: int, removed: Mapping[str, int]) -> None:
    """Say how far the run is, in the transaction that got it there: a killed run has its true record."""
    await conn.execute(_ADD, {"id": log_id, "batches": batches, "removed": json.dumps(dict(removed))})


async def finish(conn: AsyncConnection, log_id: int) -> None:
    """It came to its end: nothing was left that it could take."""
    await conn.execute(_FINISH, {"id": log_id})


async def finished_within(conn: AsyncConnection, action: str, days: int, every: timedelta) -> bool:
    """Whether such a run, of batches as young as these or younger, began within that time and came to its end."""
    asked = {"action": action, "days": days, "every": every}
    return bool((await conn.execute(_FINISHED_WITHIN, asked)).scalar_one())
