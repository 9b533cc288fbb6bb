"""The events that must be in Kafka according to the tables, by event id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.domain.published_events import expected_events
from els_stream.events import topics
from els_stream.events.event_ids import dead_letter_subject, event_id
from els_stream.queries import event_facts

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class EventDescription:
    """The time of the fact, and the fields of an event that its id is derived from."""

    at: datetime
    topic: str
    batch_id: str
    subject: str

    def __str__(self) -> str:
        return f"{self.topic} of batch {self.batch_id!r} {self.subject}".rstrip()


@dataclass(frozen=True, slots=True)
class ExpectedEvents:
    """The expected events by id, the ids that are still in the outbox, and the ids of purged batches."""

    events: dict[UUID, EventDescription]
    waiting: frozenset[UUID]
    purged: frozenset[str]


async def read_expected_events(conn: AsyncConnection) -> ExpectedEvents:
    """Return the expected events; to be called in a REPEATABLE READ transaction."""
    of_batches = [
        EventDescription(event.at, event.topic, batch_id, event.subject)
        for batch_id, batch in (await event_facts.read_batches(conn)).items()
        for event in expected_events(batch)
    ]
    of_dead_letters = [
        EventDescription(source.created_at, topics.DEAD_LETTER, source.batch_id, dead_letter_subject(*source[2:]))
        for source in await event_facts.read_dead_letter_sources(conn)
    ]
    return ExpectedEvents(
        {event_id(event.topic, event.batch_id, event.subject): event for event in (*of_batches, *of_dead_letters)},
        await event_facts.read_outbox_ids(conn),
        await event_facts.read_purged_ids(conn),
    )
