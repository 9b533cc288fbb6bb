"""Validation failures whose code this release does not know: each took its slot, and a sender has something new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.events.fields import VALIDATION_ERROR_CODES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

# Only the newest are read, so that the time is bounded also when all codes are new.
MAX_READ: Final = 5000

_NEWEST: Final = """
    SELECT error_code, count(*) AS count,
           count(*) FILTER (WHERE created_at > now() - interval '1 hour') AS last_hour, max(created_at) AS last_at
    FROM (
        SELECT error_code, created_at FROM batch_validation_failures
        WHERE error_code NOT IN ({known})
        ORDER BY created_at DESC LIMIT :limit
    ) newest
    GROUP BY error_code ORDER BY count(*) DESC, error_code
"""
# No parameters, since an index has the same condition.
_READ = text(_NEWEST.format(known=", ".join(f"'{code}'" for code in VALIDATION_ERROR_CODES)))


@dataclass(frozen=True, slots=True)
class UnknownCode:
    """A validation code that this release does not know, and how many of the newest 5000 such failures have it."""

    code: str
    count: int
    last_hour: int
    last_at: datetime


async def read_unknown_codes(conn: AsyncConnection) -> Sequence[UnknownCode]:
    """Return the codes, the most frequent first. Purged batches are not counted."""
    return [UnknownCode(*row) for row in await conn.execute(_READ, {"limit": MAX_READ})]
