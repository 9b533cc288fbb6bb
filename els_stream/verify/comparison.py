"""Compare the expected events with those in Kafka: missing events, unexpected events, and their order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from els_stream.events import topics
from els_stream.verify.invariants import make_finding

if TYPE_CHECKING:
    from els_stream.verify.expected_events import ExpectedEvents
    from els_stream.verify.invariants import Finding
    from els_stream.verify.kafka_events import PublishedEvents

# No event of a batch may reach Kafka before all events of that batch on the topics to its left.
_ORDER: Final = (
    topics.SLOT_ASSIGNED,
    topics.VALIDATION_ERRORS,
    topics.PROVISIONING_COMPLETED,
    topics.ESSAYS_READY,
)


def compare(
    before: ExpectedEvents,
    published: PublishedEvents,
    after: ExpectedEvents,
    *,
    clock_skew_ms: int = 0,
    tombstones_since: int = 0,
) -> list[Finding]:
    """Compare Kafka with the tables, read `before` Kafka and `after` it, since the service may run meanwhile.

    Batches that were purged before `tombstones_since` (milliseconds) may have left no trace in the tables. Timestamps
    that differ by no more than `clock_skew_ms` say nothing about the order.
    """
    lost, deleted = _missing(before, published)
    unexpected = [
        f"{first.topic} {identity} of batch {first.batch_id!r} is in Kafka, but follows from no table"
        for identity, first in published.events.items()
        if identity not in after.events
        and first.batch_id not in after.purged
        and first.topic != topics.DEAD_LETTER
        and first.timestamp >= tombstones_since
    ]
    altered = [f"{copy} repeats an event id with other bytes" for copy in published.altered]
    without_id = [f"{record} has no event id" for record in published.without_id]
    checked = len(before.events)
    findings = [
        make_finding(
            "I4 kafka",
            "each event is in Kafka under one id, with one content",
            checked,
            altered + without_id + unexpected,
        ),
        make_finding(
            "I5 kafka", "each event that follows from the tables is in Kafka or the outbox", checked - deleted, lost
        ),
        make_finding(
            "I8 kafka",
            "assigned, errors, completed, ready: in this order",
            checked,
            out_of_order(published, clock_skew_ms),
        ),
    ]
    if deleted:
        meaning = "events that are not compared: Kafka has deleted the records of their topics from that time"
        findings.append(make_finding("I5 deleted", meaning, deleted, []))
    return findings


def _missing(before: ExpectedEvents, published: PublishedEvents) -> tuple[list[str], int]:
    """Return a text for each event or topic that is lost, and the number of events that Kafka may have deleted."""
    lost: list[str] = []
    of_no_topic: Counter[str] = Counter()
    deleted = 0
    for identity, event in before.events.items():
        if identity in published.events or identity in before.waiting:
            continue
        if event.topic not in published.deleted_until:
            of_no_topic[event.topic] += 1
        elif event.at.timestamp() * 1000 <= published.deleted_until[event.topic]:
            deleted += 1
        else:
            lost.append(f"{event} is neither in the outbox nor in Kafka")
    no_topics = [
        f"the broker has no topic {published.prefix}{topic}; {count} events should be in it"
        for topic, count in of_no_topic.items()
    ]
    return no_topics + lost, deleted


def out_of_order(published: PublishedEvents, clock_skew_ms: int) -> list[str]:
    """Return a text for each batch and pair of topics whose events are out of order, by the time of first copies.

    Events whose first copy may have been deleted have no place in the order.
    """
    times: dict[str, dict[str, tuple[int, int]]] = {}
    for first in published.events.values():
        if first.topic in _ORDER and not first.may_follow_deleted:
            earliest, latest = times.setdefault(first.batch_id, {}).get(first.topic, (first.timestamp, first.timestamp))
            times[first.batch_id][first.topic] = min(earliest, first.timestamp), max(latest, first.timestamp)
    return [
        f"batch {batch_id!r}: {later} was published before the last of {sooner}"
        for batch_id, by_topic in times.items()
        for position, later in enumerate(_ORDER)
        for sooner in _ORDER[:position]
        if later in by_topic and sooner in by_topic and by_topic[later][0] + clock_skew_ms < by_topic[sooner][1]
    ]
