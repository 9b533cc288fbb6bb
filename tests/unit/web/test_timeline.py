"""The story of a batch is told in order, with the state of every event that told it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from els_stream.events import topics
from els_stream.events.event_ids import event_id, slot_subject
from els_stream.queries.batch_detail import (
    BatchDeadLetter,
    BatchDetail,
    ExcessText,
    HeldSlot,
    PendingCount,
    WaitingEvent,
)
from els_stream.queries.listing import UploadedFile
from els_stream.web.timeline import MOST, EventDelivery, MomentKind, Sending, timeline

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def waits(topic: str, subject: str, held_until: datetime | None = None) -> WaitingEvent:
    return WaitingEvent(1, topic, event_id(topic, "b", subject), NOON, 0, held_until, None)


WHOLE = BatchDetail(
    batch_id="b",
    state="completed",
    class_type="REGULAR",
    expected=2,
    filled=1,
    failed=1,
    free=0,
    parked=[PendingCount("content_provisioned", 3, after(0))],
    conflicts=0,
    created_at=after(0),
    registered_at=after(1),
    deadline_at=after(999),
    content_completed_at=after(3),
    associations_confirmed_at=after(4),
    completed_at=after(4),
    timed_out_at=None,
    purged_at=None,
    slots=[HeldSlot("e2", None, None, after(3)), HeldSlot("e1", "t1", uuid4(), after(2))],
    excess=[ExcessText("t9", uuid4(), after(5))],
    waiting=[],
    dead_letters=[BatchDeadLetter(7, "unknown_essay", "no such essay", "topic/0/1", "open", after(6))],
    asked_at=after(10),
)


def test_a_story_is_told_in_the_order_in_which_it_happened() -> None:
    assert [moment.what for moment in timeline(WHOLE, []).moments] == [
        MomentKind.PARKED,
        MomentKind.REGISTERED,
        MomentKind.FILLED,
        MomentKind.FAILED,
        MomentKind.CONTENT_COMPLETE,
        MomentKind.ASSOCIATIONS_CONFIRMED,
        MomentKind.COMPLETED,
        MomentKind.EXCESS,
        MomentKind.DEAD_LETTER,
    ]


def test_a_file_is_named_where_it_went() -> None:
    files = [
        UploadedFile("e1", "Moby-Dick, but Shorter.docx", None),
        UploadedFile("e2", "blank.docx", "EMPTY_CONTENT"),
        UploadedFile("t9", "9", None),
    ]

    named = {moment.what: (moment.file_name, moment.detail) for moment in timeline(WHOLE, files).moments}

    assert named[MomentKind.FILLED] == ("Moby-Dick, but Shorter.docx", "t1")
    assert named[MomentKind.FAILED] == ("blank.docx", "EMPTY_CONTENT")
    assert named[MomentKind.EXCESS] == ("9", None)


def test_what_left_the_outbox_was_sent_and_what_did_not_waits_or_is_held() -> None:
    story = replace(
        WHOLE,
        waiting=[
            waits(topics.ESSAYS_READY, ""),
            waits(topics.SLOT_ASSIGNED, slot_subject("e1", "t1"), held_until=NOON),
        ],
    )

    told = {moment.what: list(moment.told) for moment in timeline(story, []).moments}

    assert told[MomentKind.FILLED] == [EventDelivery(topics.SLOT_ASSIGNED, Sending.HELD)]
    assert told[MomentKind.CONTENT_COMPLETE] == [
        EventDelivery(topics.VALIDATION_ERRORS, Sending.SENT),
        EventDelivery(topics.PROVISIONING_COMPLETED, Sending.SENT),
    ]
    assert told[MomentKind.COMPLETED] == [EventDelivery(topics.ESSAYS_READY, Sending.WAITING)]
    assert told[MomentKind.EXCESS] == [EventDelivery(topics.EXCESS_CONTENT, Sending.SENT)]


def test_a_guest_batch_tells_nobody_that_it_is_ready() -> None:
    (completed,) = [
        m for m in timeline(replace(WHOLE, class_type="GUEST"), []).moments if m.what is MomentKind.COMPLETED
    ]

    assert completed.told == []


def test_of_very_many_slots_the_newest_are_told_and_every_milestone() -> None:
    slots = [HeldSlot(f"e{n}", f"t{n}", None, after(2 + n / 10_000)) for n in range(MOST + 10)]

    told = timeline(replace(WHOLE, slots=slots), [])

    assert told.omitted == 12
    assert [moment.what for moment in told.moments[:3]] == [MomentKind.PARKED, MomentKind.REGISTERED, MomentKind.FILLED]
    assert told.moments[2].subject == "e12"
