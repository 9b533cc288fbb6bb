"""The tables against Kafka: what was told and is not there, what is there and was never told, and the order of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.events import topics
from els_stream.verify.invariants import SHOWN_PER_CHECK, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from els_stream.verify.expected_events import ExpectedEvents
    from els_stream.verify.kafka_events import FirstCopy, Published

# Each of these may reach Kafka only after all events of the batch on the topics before it.
_ORDER: Final = (
    topics.SLOT_ASSIGNED,
    topics.VALIDATION_ERRORS,
    topics.PROVISIONING_COMPLETED,
    topics.ESSAYS_READY,
)


def compare(before: ExpectedEvents, published: Published, after: ExpectedEvents) -> list[Finding]:
    """`before` was read before Kafka and `after` after it, so what the service does meanwhile is no difference."""
    missing = [
        f"{event} is in no outbox and not in Kafka"
        for identity, event in before.events.items()
        if identity not in published.events and identity not in before.waiting
    ]
    unknown = [
        f"{first.topic} {identity} of batch {first.batch_id!r} is in Kafka and in no table"
        for identity, first in published.events.items()
        if identity not in after.events and first.batch_id not in after.purged and first.topic != topics.DEAD_LETTER
    ]
    altered = [f"{place} repeats an event id with other bytes" for place in published.altered]
    nameless = [f"{place} holds a record without an event id" for place in published.nameless]
    return [
        _finding("I4 kafka", "each event once, under one id, with one content", before, altered + nameless + unknown),
        _finding("I5 kafka", "what the tables say was told is in Kafka or in the outbox", before, missing),
        _finding("I8 kafka", "assigned, errors, completed, ready: in this order", before, out_of_order(published)),
    ]


def out_of_order(published: Published) -> list[str]:
    """Batches of which an event's first copy lies, by its time, before one that became true before it."""
    spans: dict[str, dict[str, tuple[int, int]]] = {}
    for first in _ordered(published.events.values()):
        earliest, latest = spans.setdefault(first.batch_id, {}).get(first.topic, (first.timestamp, first.timestamp))
        spans[first.batch_id][first.topic] = min(earliest, first.timestamp), max(latest, first.timestamp)
    return [
        f"batch {batch_id!r}: {later} was sent before the last of {sooner}"
        for batch_id, times in spans.items()
        for position, later in enumerate(_ORDER)
        for sooner in _ORDER[:position]
        if later in times and sooner in times and times[later][0] < times[sooner][1]
    ]


def _ordered(events: Iterable[FirstCopy]) -> Iterable[FirstCopy]:
    return (first for first in events if first.topic in _ORDER)


def _finding(invariant: str, meaning: str, before: ExpectedEvents, violations: Sequence[str]) -> Finding:
    return Finding(invariant, meaning, len(before.events), len(violations), violations[:SHOWN_PER_CHECK])
