"""The timeline of a batch: its order, its files, and the delivery of each event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from els_stream.domain.batch_timeline import MOMENT_OF_TOPIC, EventDelivery, MomentKind, timeline
from els_stream.domain.published_events import DeliveryState
from els_stream.events import topics
from els_stream.events.event_ids import event_id, slot_subject
from els_stream.queries.batch_detail import (
    BatchDeadLetter,
    BatchDetail,
    ExcessText,
    PendingCount,
    TakenSlot,
    WaitingEvent,
)
from els_stream.queries.listing import UploadedFile

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def waits(topic: str, subject: str, next_attempt_at: datetime | None = None) -> WaitingEvent:
    return WaitingEvent(1, topic, event_id(topic, "b", subject), NOON, 0, next_attempt_at, None)


WHOLE = BatchDetail(
    batch_id="b",
    state="completed",
    class_type="REGULAR",
    expected=2,
    filled=1,
    failed=1,
    free=0,
    pending=[PendingCount("content_provisioned", 3, after(0))],
    conflicts=0,
    created_at=after(0),
    registered_at=after(1),
    deadline_at=after(999),
    content_completed_at=after(3),
    associations_confirmed_at=after(4),
    completed_at=after(4),
    timed_out_at=None,
    purged_at=None,
    slots=[TakenSlot("e2", None, None, after(3)), TakenSlot("e1", "t1", uuid4(), after(2))],
    excess=[ExcessText("t9", uuid4(), after(5))],
    waiting=[],
    dead_letters=[BatchDeadLetter(7, "unknown_essay", "no such essay", "topic/0/1", "open", after(6))],
    read_at=after(10),
)


def test_moments_are_sorted_by_time_then_by_kind() -> None:
    assert [moment.kind for moment in timeline(WHOLE, []).moments] == [
        MomentKind.PENDING,
        MomentKind.REGISTERED,
        MomentKind.FILLED,
        MomentKind.FAILED,
        MomentKind.CONTENT_COMPLETE,
        MomentKind.ASSOCIATIONS_CONFIRMED,
        MomentKind.COMPLETED,
        MomentKind.EXCESS,
        MomentKind.DEAD_LETTER,
    ]


def test_moments_name_the_file_that_they_concern() -> None:
    files = [
        UploadedFile("e1", "Moby-Dick, but Shorter.docx", None),
        UploadedFile("e2", "blank.docx", "EMPTY_CONTENT"),
        UploadedFile("t9", "9", None),
    ]

    named = {moment.kind: (moment.file_name, moment.detail) for moment in timeline(WHOLE, files).moments}

    assert named[MomentKind.FILLED] == ("Moby-Dick, but Shorter.docx", "t1")
    assert named[MomentKind.FAILED] == ("blank.docx", "EMPTY_CONTENT")
    assert named[MomentKind.EXCESS] == ("9", None)


def test_events_not_in_the_outbox_are_sent_and_the_others_waiting_or_deferred() -> None:
    batch = replace(
        WHOLE,
        waiting=[
            waits(topics.ESSAYS_READY, ""),
            waits(topics.SLOT_ASSIGNED, slot_subject("e1", "t1"), next_attempt_at=NOON),
        ],
    )

    events = {moment.kind: list(moment.events) for moment in timeline(batch, []).moments}

    assert events[MomentKind.FILLED] == [EventDelivery(topics.SLOT_ASSIGNED, DeliveryState.DEFERRED)]
    assert events[MomentKind.CONTENT_COMPLETE] == [
        EventDelivery(topics.VALIDATION_ERRORS, DeliveryState.PUBLISHED),
        EventDelivery(topics.PROVISIONING_COMPLETED, DeliveryState.PUBLISHED),
    ]
    assert events[MomentKind.COMPLETED] == [EventDelivery(topics.ESSAYS_READY, DeliveryState.WAITING)]
    assert events[MomentKind.EXCESS] == [EventDelivery(topics.EXCESS_CONTENT, DeliveryState.PUBLISHED)]


def test_a_guest_batch_has_no_ready_event() -> None:
    (completed,) = [
        m for m in timeline(replace(WHOLE, class_type="GUEST"), []).moments if m.kind is MomentKind.COMPLETED
    ]

    assert completed.events == []


def test_a_limit_keeps_the_newest_slots_and_every_milestone() -> None:
    slots = [TakenSlot(f"e{n}", f"t{n}", None, after(2 + n / 10_000)) for n in range(30)]

    history = timeline(replace(WHOLE, slots=slots), [], limit=20)

    assert history.omitted == 12
    first = [moment.kind for moment in history.moments[:3]]
    assert first == [
        MomentKind.PENDING,
        MomentKind.REGISTERED,
        MomentKind.FILLED,
    ]
    assert history.moments[2].subject == "e12"


def test_every_outgoing_event_of_a_batch_has_a_moment() -> None:
    assert MOMENT_OF_TOPIC.keys() == set(topics.OUTPUT_TOPICS) - {topics.DEAD_LETTER}
