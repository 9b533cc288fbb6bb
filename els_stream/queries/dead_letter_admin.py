"""Dead letters as an operator handles them: list, read, replay, discard; and the deletion of old ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import TextClause, text

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.headers import encode_headers
from els_stream.queries.arrays import record_from_row
from els_stream.queries.ordered_pages import avoid_sorting

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.records import RawRecord

DEAD_LETTER_STATES: Final = ("open", "replayed", "discarded")
BEYOND_ALL_IDS: Final = 2**63 - 1

_COLUMNS: Final = """
    d.id, d.batch_id, d.reason, d.message, d.source_topic, d.source_partition, d.source_offset, d.source_timestamp,
    d.value_size, d.state, d.replay_of, d.created_at, d.resolved_at
"""
# One index range per state and reason, each read no further than the limit. The reasons come from the rows, since a
# newer release may have stored others: for each state the lowest one, then always the next, with one index probe each.
# Rows are compared, since with equal states and reasons the index of the ids would have the wanted order as well, and
# PostgreSQL would read it to the end where few rows have the state and the reason.
BY_STATE_AND_REASON: Final = """
    WITH RECURSIVE present (state, reason) AS (
        SELECT s.state, (SELECT min(d.reason) FROM dead_letters d WHERE d.state = s.state)
        FROM unnest(CAST(:states AS text[])) AS s (state)
        UNION ALL
        SELECT p.state, (SELECT min(d.reason) FROM dead_letters d WHERE d.state = p.state AND d.reason > p.reason)
        FROM present p WHERE p.reason IS NOT NULL
    )
    SELECT page.* FROM present p
    CROSS JOIN LATERAL (
        SELECT {columns} FROM dead_letters d
        WHERE (d.state, d.reason, d.id) > (p.state, p.reason, CAST(:after AS bigint))
          AND (d.state, d.reason, d.id) < (p.state, p.reason, CAST(:before AS bigint))
          AND {conditions}
        ORDER BY d.state {order}, d.reason {order}, d.id {order} LIMIT :limit
    ) page
    WHERE p.reason IS NOT NULL
    ORDER BY page.id {order} LIMIT :limit
"""
# The dead letters of one batch are few, and have an index of their own.
_OF_BATCH: Final = """
    SELECT {columns} FROM dead_letters d
    WHERE d.state = ANY(CAST(:states AS text[])) AND d.id > :after AND d.id < :before AND {conditions}
    ORDER BY d.id {order} LIMIT :limit
"""
# Each is one probe of the index of state, reason and id.
_HAS_REASON: Final = text("""
    SELECT EXISTS (SELECT FROM dead_letters WHERE state = ANY(CAST(:states AS text[])) AND reason = :reason)
""")
_COUNT: Final = """
    SELECT count(*), coalesce(max(d.id), 0) FROM dead_letters d
    WHERE d.state = ANY(CAST(:states AS text[])) AND {conditions}
"""
_OPTIONAL_CONDITIONS: Final = {
    "reason": "d.reason = :reason",
    "batch_id": "d.batch_id = :batch_id",
    "field": "d.field IS NOT DISTINCT FROM nullif(:field, '')",
    "topic": "d.source_topic = :topic",
    "older_than": "d.created_at < now() - CAST(:older_than AS interval)",
    "younger_than": "d.created_at > now() - CAST(:younger_than AS interval)",
}

_ONE: Final = "SELECT {columns}, d.key, d.value, d.value_sha256, d.headers FROM dead_letters d WHERE d.id = :id"
_READ = text(_ONE.format(columns=_COLUMNS))

# Changes the row only as it was read: another process may have resolved it since, or a purge removed its payload.
_MARK_REPLAYED = text("""
    UPDATE dead_letters SET state = 'replayed', resolved_at = clock_timestamp()
    WHERE id = :id AND state = 'open' AND (value IS NULL) = :without_value
""")

# Size, hash and reason stay; personal data is removed.
_DISCARD = text("""
    UPDATE dead_letters
    SET state = 'discarded', resolved_at = now(), key = NULL, value = NULL, headers = :no_headers,
        message = left(message, 1000) || :note
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'open'
    RETURNING id
""")

# All dead letters of one record are deleted together, when the newest is old enough: if only the first were deleted,
# two later ones would both become the first.
_DELETE_OLD = text("""
    WITH old AS (
        SELECT d.id FROM dead_letters d
        WHERE d.replay_of IS NULL AND d.created_at < now() - CAST(:retention AS interval)
          AND NOT EXISTS (SELECT FROM dead_letters later
                          WHERE later.replay_of = d.id AND later.created_at >= now() - CAST(:retention AS interval))
        ORDER BY d.created_at LIMIT :limit
    )
    DELETE FROM dead_letters d USING old WHERE d.id = old.id OR d.replay_of = old.id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Selects dead letters; an absent condition selects all. `topic` is the logical name; ages count from `created_at`.

    `field` is the one that breaks the contract; the empty text selects dead letters without one.
    """

    state: str | None = None
    reason: str | None = None
    field: str | None = None
    topic: str | None = None
    batch_id: str | None = None
    older_than: timedelta | None = None
    younger_than: timedelta | None = None

    def params(self) -> dict[str, object]:
        """Return the bind parameters."""
        return {
            "states": [state for state in DEAD_LETTER_STATES if self.state in {None, state}],
            **{name: getattr(self, name) for name in self.optional_conditions()},
        }

    def optional_conditions(self) -> tuple[str, ...]:
        """Return the names of the given fields besides the state."""
        return tuple(name for name in _OPTIONAL_CONDITIONS if getattr(self, name) is not None)


@dataclass(frozen=True, slots=True)
class DeadLetterSummary:
    """A dead letter without its payload; `place` says where the record was in Kafka."""

    id: int
    batch_id: str | None
    reason: str
    message: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    value_size: int
    state: str
    replay_of: int | None
    created_at: datetime
    resolved_at: datetime | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter and its record. A removed value leaves its size and hash."""

    summary: DeadLetterSummary
    record: RawRecord
    value_sha256: bytes

    @property
    def value_is_gone(self) -> bool:
        return self.record.value is None and (self.summary.value_size > 0 or self.summary.state == "discarded")


async def is_reason(conn: AsyncConnection, reason: str) -> bool:
    """Return whether the reason is one of this release or of a dead letter: a newer release may have stored others."""
    if reason in set(DeadLetterReason):
        return True
    return bool(await conn.scalar(_HAS_REASON, {"states": DEAD_LETTER_STATES, "reason": reason}))


async def newest(
    conn: AsyncConnection, filters: DeadLetterFilter, limit: int, before: int | None = None
) -> list[DeadLetterSummary]:
    """Return a page of dead letters, newest first; `before` is the last id of the previous page (exclusive)."""
    upper = BEYOND_ALL_IDS if before is None else before
    rows: Sequence[Any] = await _read_page(conn, _COLUMNS, filters, "DESC", after=0, before=upper, limit=limit)
    return [DeadLetterSummary(*row) for row in rows]


async def count_and_last_id(conn: AsyncConnection, filters: DeadLetterFilter) -> tuple[int, int]:
    """Return how many dead letters match, and the highest of their ids (0 if none matches)."""
    count, last_id = (await conn.execute(_count(_conditions(filters)), filters.params())).one()
    return count, last_id


async def list_ids(conn: AsyncConnection, filters: DeadLetterFilter, *, after: int, last: int, limit: int) -> list[int]:
    """Return the ids of matching dead letters, oldest first: more than `after`, at most `last`."""
    return [row.id for row in await _read_page(conn, "d.id", filters, "ASC", after=after, before=last + 1, limit=limit)]


async def read(conn: AsyncConnection, dead_letter_id: int) -> DeadLetterRecord | None:
    """Return one dead letter with its payload, or None if there is none of this id."""
    row = (await conn.execute(_READ, {"id": dead_letter_id})).one_or_none()
    return None if row is None else _record(row)


async def mark_replayed(conn: AsyncConnection, dead_letter: DeadLetterRecord) -> bool:
    """Mark an open dead letter as replayed; return False if it changed since it was read.

    The caller has locked the tracker row of its batch.
    """
    params = {"id": dead_letter.summary.id, "without_value": dead_letter.record.value is None}
    return (await conn.execute(_MARK_REPLAYED, params)).rowcount == 1


async def discard(conn: AsyncConnection, ids: Collection[int], note: str) -> list[int]:
    """Remove the payload of the open ones and append `note` to their message; return their ids. The rows stay."""
    params = {"ids": list(ids), "note": f" [{note}]", "no_headers": encode_headers(())}
    return sorted((await conn.execute(_DISCARD, params)).scalars())


async def delete_old(conn: AsyncConnection, retention: timedelta, limit: int) -> int:
    """Delete all dead letters of at most `limit` records whose newest is older than `retention`; return how many."""
    return (await conn.execute(_DELETE_OLD, {"retention": retention, "limit": limit})).rowcount


async def _read_page(
    conn: AsyncConnection, columns: str, filters: DeadLetterFilter, order: str, **bounds: int
) -> Sequence[Row[Any]]:
    """Read at most `limit` of the ids between `after` and `before`, both exclusive."""
    of_batch = filters.batch_id is not None
    if not of_batch:
        await avoid_sorting(conn)
    query = _page(columns, _conditions(filters), order, of_batch=of_batch)
    return (await conn.execute(query, {**filters.params(), **bounds})).all()


def _conditions(filters: DeadLetterFilter) -> tuple[str, ...]:
    return tuple(_OPTIONAL_CONDITIONS[name] for name in filters.optional_conditions())


@cache
def _page(columns: str, conditions: tuple[str, ...], order: str, *, of_batch: bool) -> TextClause:
    query = _OF_BATCH if of_batch else BY_STATE_AND_REASON
    return text(query.format(columns=columns, conditions=" AND ".join(conditions) or "true", order=order))


@cache
def _count(conditions: tuple[str, ...]) -> TextClause:
    return text(_COUNT.format(conditions=" AND ".join(conditions) or "true"))


def _record(row: Row[Any]) -> DeadLetterRecord:
    columns: Sequence[Any] = row
    summary = DeadLetterSummary(*columns[:13])
    return DeadLetterRecord(summary, record_from_row(row), row.value_sha256)
