"""The values of the dashboard besides the stats: stored offsets, completion times, purges and unknown codes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.queries import consumed_offsets
from els_stream.queries.unknown_codes import read_unknown_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.unknown_codes import UnknownCode

MAX_PURGES: Final = 5
MAX_COMPLETIONS: Final = 200

_OFFSETS = text("""
    SELECT topic, partition, next_offset, updated_at,
           CAST(greatest(0, EXTRACT(EPOCH FROM updated_at) - record_timestamp / 1000.0) AS float8) AS delay_seconds
    FROM consumed_offsets WHERE consumer_group = :consumer_group
    ORDER BY topic, partition
""")
# Reads the slots only of the batches that completed after :since.
_COMPLETIONS = text("""
    SELECT count(*) AS batches,
           CAST(avg(EXTRACT(EPOCH FROM b.completed_at - last.taken_at)) AS float8) AS waited_seconds
    FROM (
        SELECT batch_id, completed_at FROM batch_essay_trackers
        WHERE state = 'completed' AND completed_at > :since ORDER BY completed_at DESC LIMIT :limit
    ) b
    CROSS JOIN LATERAL (
        SELECT max(coalesce(e.filled_at, e.failed_at)) AS taken_at FROM essay_states e WHERE e.batch_id = b.batch_id
    ) last
""")
_PURGES = text("""
    SELECT action, class_type, older_than_days, batches, started_at, finished_at
    FROM purge_log ORDER BY id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class StoredOffsetAge:
    """A stored offset; `delay_seconds` is the age of the last record when its transaction began."""

    topic: str
    partition: int
    next_offset: int
    updated_at: datetime
    delay_seconds: float | None


@dataclass(frozen=True, slots=True)
class PurgeRun:
    """An entry of the purge log."""

    action: str
    class_type: str | None
    older_than_days: int | None
    batches: int
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DashboardSnapshot:
    """`completed` counts the batches since the previous snapshot.

    `waited_seconds` is their mean time from the last slot taken to completion.
    """

    offsets: Sequence[StoredOffsetAge]
    purges: Sequence[PurgeRun]
    unknown_validation_codes: Sequence[UnknownCode]
    completed: int
    waited_seconds: float | None
    read_at: datetime


async def read_dashboard(conn: AsyncConnection, consumer_group: str, since: datetime | None) -> DashboardSnapshot:
    """Return a snapshot; `since` is `read_at` of the previous one (None: no completions are counted)."""
    now = await consumed_offsets.database_time(conn)
    completions = (await conn.execute(_COMPLETIONS, {"since": since or now, "limit": MAX_COMPLETIONS})).one()
    return DashboardSnapshot(
        offsets=[StoredOffsetAge(*row) for row in await conn.execute(_OFFSETS, {"consumer_group": consumer_group})],
        purges=[PurgeRun(*row) for row in await conn.execute(_PURGES, {"limit": MAX_PURGES})],
        unknown_validation_codes=await read_unknown_codes(conn),
        completed=completions.batches,
        waited_seconds=completions.waited_seconds,
        read_at=now,
    )
