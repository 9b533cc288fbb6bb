"""Open dead letters by reason, field and topic: what changed at the senders, or went wrong, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.queries.dead_letter_admin import BEYOND_ALL_IDS, BY_STATE_AND_REASON

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

# Only the newest are read, so that the time is bounded whatever an incident left.
MAX_READ: Final = 5000
MAX_GROUPS: Final = 100

_NEWEST: Final = BY_STATE_AND_REASON.format(
    columns="d.id, d.reason, d.field, d.source_topic, d.message, d.created_at", conditions="true", order="DESC"
)
_GROUPS: Final = """
    SELECT reason, field, source_topic, count(*) AS count,
           count(*) FILTER (WHERE created_at > now() - interval '1 hour') AS last_hour,
           min(created_at) AS first_at, max(created_at) AS last_at, max(id) AS newest_id,
           (array_agg(message ORDER BY id DESC))[1] AS message
    FROM ({newest}) newest
    GROUP BY reason, field, source_topic
    ORDER BY count(*) DESC, max(id) DESC LIMIT :groups
"""
_READ = text(_GROUPS.format(newest=_NEWEST))


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Open dead letters alike; `field` is None where no single field breaks a contract. `message` is the newest one's.

    The newest 5000 are counted.
    """

    reason: str
    field: str | None
    topic: str
    count: int
    last_hour: int
    first_at: datetime
    last_at: datetime
    newest_id: int
    message: str

    @property
    def is_violation(self) -> bool:
        return self.reason == DeadLetterReason.CONTRACT_VIOLATION


async def read_groups(conn: AsyncConnection) -> Sequence[DeadLetterGroup]:
    """Return the groups, the largest first."""
    params = {"states": ["open"], "after": 0, "before": BEYOND_ALL_IDS, "limit": MAX_READ, "groups": MAX_GROUPS}
    return [DeadLetterGroup(*row) for row in await conn.execute(_READ, params)]
