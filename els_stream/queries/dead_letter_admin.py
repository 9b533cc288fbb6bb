"""What an operator does with dead letters: look through them, take one in hand, settle it; and what age removes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from els_stream.events.headers import decode_headers, encode_headers
from els_stream.events.records import RawRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

# An absent filter is NULL. Ages count from the burial.
_CHOSEN = """
    (CAST(:reason AS text) IS NULL OR reason = :reason)
    AND (CAST(:topic AS text) IS NULL OR source_topic = :topic)
    AND (CAST(:batch_id AS text) IS NULL OR batch_id = :batch_id)
    AND (CAST(:state AS text) IS NULL OR state = :state)
    AND (CAST(:older_than AS interval) IS NULL OR created_at < now() - CAST(:older_than AS interval))
    AND (CAST(:younger_than AS interval) IS NULL OR created_at > now() - CAST(:younger_than AS interval))
"""

_NEWEST = """
    SELECT id, batch_id, reason, message, source_topic, source_partition, source_offset, source_timestamp, value_size,
           state, replay_of, created_at, settled_at
    FROM dead_letters
    WHERE (CAST(:before AS bigint) IS NULL OR id < :before) AND {chosen}
    ORDER BY id DESC LIMIT :limit
"""

_IDS = "SELECT id FROM dead_letters WHERE id > :after AND id <= :last AND {chosen} ORDER BY id LIMIT :limit"

_EXTENT = "SELECT count(*) AS letters, coalesce(max(id), 0) AS last FROM dead_letters WHERE {chosen}"

_READ_NEWEST, _READ_IDS, _READ_EXTENT = (text(sql.format(chosen=_CHOSEN)) for sql in (_NEWEST, _IDS, _EXTENT))

_ONE = """
    SELECT id, batch_id, reason, message, source_topic, source_partition, source_offset, source_timestamp, value_size,
           state, replay_of, created_at, settled_at, key, value, value_sha256, headers
    FROM dead_letters WHERE id = :id
"""
_READ = text(_ONE)

# Also a comparison with what was read: somebody may have settled it since, or a purge taken its payload.
_REPLAYED = text("""
    UPDATE dead_letters SET state = 'replayed', settled_at = clock_timestamp()
    WHERE id = :id AND state = 'open' AND (value IS NULL) = :without_value
""")

# What is left tells what was dropped, by its size and hash, and why; nothing of a person.
_DROP = text("""
    UPDATE dead_letters
    SET state = 'dropped', settled_at = now(), key = NULL, value = NULL, headers = :no_headers,
        message = left(message, 1000) || :note
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'open'
    RETURNING id
""")

# All letters of one record go together, when the youngest is old enough: without its first, two later ones would both
# become the first.
_FORGET = text("""
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
class DeadLetterSelection:
    """Which dead letters; an absent filter takes all. `topic` is the logical name."""

    reason: str | None = None
    topic: str | None = None
    batch_id: str | None = None
    state: str | None = None
    older_than: timedelta | None = None
    younger_than: timedelta | None = None

    def parameters(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class DeadLetterSummary:
    """A dead letter without its payload; `place` is where the record lay in Kafka."""

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
    settled_at: datetime | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter and its record; a value that was there and is gone leaves `value_size` and the hash."""

    letter: DeadLetterSummary
    record: RawRecord
    value_sha256: bytes

    @property
    def value_is_gone(self) -> bool:
        return self.record.value is None and (self.letter.value_size > 0 or self.letter.state == "dropped")


async def newest(
    conn: AsyncConnection, choice: DeadLetterSelection, limit: int, before: int | None = None
) -> list[DeadLetterSummary]:
    """The newest first; `before` is the last id of the page before."""
    rows = await conn.execute(_READ_NEWEST, {**choice.parameters(), "before": before, "limit": limit})
    return [DeadLetterSummary(*row) for row in rows]


async def extent(conn: AsyncConnection, choice: DeadLetterSelection) -> tuple[int, int]:
    """How many there are, and the last id of them: what is buried later is not meant."""
    row = (await conn.execute(_READ_EXTENT, choice.parameters())).one()
    return row.letters, row.last


async def ids(conn: AsyncConnection, choice: DeadLetterSelection, after: int, last: int, limit: int) -> list[int]:
    """In the order of their burial, from `after` up to `last`."""
    known = {**choice.parameters(), "after": after, "last": last, "limit": limit}
    return list((await conn.execute(_READ_IDS, known)).scalars())


async def read(conn: AsyncConnection, letter_id: int) -> DeadLetterRecord | None:
    return _whole((await conn.execute(_READ, {"id": letter_id})).one_or_none())


async def mark_replayed(conn: AsyncConnection, whole: DeadLetterRecord) -> bool:
    """Whether the letter is still as it was read; then nobody else settles it. Its batch's tracker row is locked."""
    known = {"id": whole.letter.id, "without_value": whole.record.value is None}
    return (await conn.execute(_REPLAYED, known)).rowcount == 1


async def drop(conn: AsyncConnection, letter_ids: Sequence[int], note: str) -> list[int]:
    """Clear the payload of those that are open, keep the rows; `note` is added to the message. Returns which."""
    dropped = await conn.execute(
        _DROP, {"ids": list(letter_ids), "note": f" [{note}]", "no_headers": encode_headers(())}
    )
    return sorted(dropped.scalars())


async def forget(conn: AsyncConnection, retention: timedelta, limit: int) -> int:
    """Remove what was buried longer ago than that, of at most `limit` records; returns how many letters."""
    return (await conn.execute(_FORGET, {"retention": retention, "limit": limit})).rowcount


def _whole(row: Row[Any] | None) -> DeadLetterRecord | None:
    if row is None:
        return None
    columns: Sequence[Any] = row
    letter = DeadLetterSummary(*columns[:13])
    record = RawRecord(
        letter.topic, letter.partition, letter.offset, letter.timestamp, row.key, row.value, decode_headers(row.headers)
    )
    return DeadLetterRecord(letter, record, row.value_sha256)
