from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from els_stream.domain.published_events import published_events
from els_stream.events import topics
from els_stream.events.event_ids import event_id
from els_stream.events.input_timestamp import truncate_timestamp
from els_stream.queries.batch_detail import read_batch_detail
from tests.support import factories as make
from tests.support.batch_harness import DEADLINE, BatchHarness, OutboxEvent
from tests.support.clock_shift import HOUR, ClockShift

CLASS = "class-9b"
HAND_IN = make.stable_id("the chain of causes of one upload")
PROJECT = UUID("0b7f2f3e-6f0e-4c1e-9c39-1a2b3c4d5e6f")


async def everything(harness: BatchHarness) -> list[OutboxEvent]:
    """Return the events of a batch that publishes all kinds except the timeout."""
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.associations(2))
    await harness.together(*harness.contents([0]))
    await harness.together(harness.failure(1))
    await harness.together(harness.content(2))
    return await harness.outbox_events(make.BATCH)


async def test_events_of_a_batch_are_numbered_without_a_gap_in_the_order_of_their_facts(
    harness: BatchHarness,
) -> None:
    published = await everything(harness)

    assert [(event.sequence, event.kind) for event in published] == [
        (1, "assigned"),
        (2, "errors"),
        (3, "completed"),
        (4, "ready"),
        (5, "excess"),
    ]
    assert (await harness.tracker()).next_sequence == 6


async def test_the_facts_in_the_tables_give_the_events_that_were_published(harness: BatchHarness) -> None:
    """The rule of `domain.published_events` and the payloads of the handlers name the same events."""
    clock = ClockShift(harness)
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.content(0))
    await clock.pass_(DEADLINE + HOUR)
    await clock.processed()
    assert await clock.time_out() == 1
    for late in (harness.failure(1), harness.content(2), harness.associations(2)):
        await harness.together(late)
    published = await harness.outbox_events()

    async with harness.engine.connect() as conn:
        batch = await read_batch_detail(conn, make.BATCH)

    assert batch is not None
    assert {event.topic for event in published} == set(topics.OUTPUT_TOPICS) - {topics.DEAD_LETTER}
    assert [(event.topic, str(event.event_id)) for event in published_events(batch)] == [
        (event.topic, event.event_id) for event in published
    ]


async def test_each_batch_has_its_own_numbers(harness: BatchHarness) -> None:
    await harness.together(harness.registration("9a", 2), harness.registration("9b", 2))
    await harness.together(*(harness.content(n, batch_id) for n in range(2) for batch_id in ("9a", "9b")))

    for batch_id in ("9a", "9b"):
        assert [event.sequence for event in await harness.outbox_events(batch_id)] == [1, 2, 3]


async def test_event_ids_are_made_of_the_facts_alone(harness: BatchHarness) -> None:
    published = {event.kind: event for event in await everything(harness)}
    essay, text = make.essay_ids(1)[0], "text-batch-of-9b-00000"

    assert published["assigned"].event_id == str(event_id(topics.SLOT_ASSIGNED, make.BATCH, f"{essay}/{text}"))
    assert published["excess"].event_id == str(event_id(topics.EXCESS_CONTENT, make.BATCH, "text-batch-of-9b-00002"))
    for kind, topic in (
        ("errors", topics.VALIDATION_ERRORS),
        ("completed", topics.PROVISIONING_COMPLETED),
        ("ready", topics.ESSAYS_READY),
    ):
        assert published[kind].event_id == str(event_id(topic, make.BATCH, ""))


async def test_a_batch_publishes_the_event_ids_of_the_published_vectors(harness: BatchHarness) -> None:
    batch_id = str(PROJECT)
    await harness.together(harness.registration(batch_id, ["essay-001"]))
    await harness.together(harness.content(0, batch_id, text_storage_id="text-001"))

    assert [event.event_id for event in await harness.outbox_events(batch_id)] == [
        "35f040d5-a5bf-5425-9711-ae2d8e2e0f42",
        "5488da8a-cccc-5287-baf0-3333b0644e98",
    ]


async def test_the_bytes_of_an_assignment_are_final(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))
    record = harness.record(
        topics.CONTENT_PROVISIONED,
        make.envelope(topics.CONTENT_PROVISIONED, make.content_data(number=3), correlation_id=HAND_IN),
    )
    await harness.together(record)

    (event,) = await harness.outbox_events()
    now = event.envelope["event_timestamp"]
    assert datetime.fromisoformat(now).tzinfo is not None
    assert event.value.decode() == (
        f'{{"event_id":"{event.event_id}","event_type":"huleedu.els.essay.slot.assigned.v1","event_timestamp":"{now}",'
        f'"source_service":"essay-lifecycle-service","schema_version":1,"correlation_id":"{HAND_IN}",'
        '"data_schema_uri":null,"data":{"event":"essay.slot.assigned","batch_id":"batch-of-9b",'
        '"essay_id":"batch-of-9b-essay-00000","file_upload_id":"upload-batch-of-9b-00003",'
        '"text_storage_id":"text-batch-of-9b-00003",'
        '"original_file_name":"Varför surströmming är ett vapen (3).docx",'
        f'"correlation_id":"{HAND_IN}","timestamp":"{now}"}},"metadata":null}}'
    )
    assert event.key == b"batch-of-9b"
    assert event.headers == {
        "event_id": event.event_id.encode(),
        "event_type": b"huleedu.els.essay.slot.assigned.v1",
        "correlation_id": HAND_IN.encode(),
        "ce_id": event.event_id.encode(),
        "ce_type": b"huleedu.els.essay.slot.assigned.v1",
        "ce_source": b"essay-lifecycle-service",
        "ce_subject": b"batch-of-9b",
        "ce_time": now.encode(),
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
    }


async def test_events_of_the_batch_carry_the_correlation_id_of_its_registration(harness: BatchHarness) -> None:
    registered = make.stable_id("the morning of the registration")
    data = make.registration_data(essays=1)
    await harness.together(
        harness.record(topics.BATCH_REGISTERED, make.envelope(topics.BATCH_REGISTERED, data, correlation_id=registered))
    )
    data = make.content_data(number=0)
    await harness.together(
        harness.record(
            topics.CONTENT_PROVISIONED, make.envelope(topics.CONTENT_PROVISIONED, data, correlation_id=HAND_IN)
        )
    )

    assert [event.envelope["correlation_id"] for event in await harness.outbox_events()] == [HAND_IN, registered]


async def test_a_pending_content_keeps_its_own_correlation_id(harness: BatchHarness) -> None:
    value = make.envelope(topics.CONTENT_PROVISIONED, make.content_data(number=0), correlation_id=HAND_IN)
    await harness.together(harness.record(topics.CONTENT_PROVISIONED, value))

    await harness.together(harness.registration(essays=2))

    (assigned,) = await harness.outbox_events()
    assert assigned.envelope["correlation_id"] == HAND_IN


async def test_completion_lists_the_essays_in_order_of_their_ids(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=["c", "a", "b"]))
    await harness.one_by_one(harness.content(0), *harness.contents([1, 2]))

    completed = (await harness.outbox_events())[-1].data
    assert completed["essays_for_processing"] == [
        {"essay_id": essay_id, "text_storage_id": f"text-batch-of-9b-0000{n}", "spellcheck_metrics": None}
        for n, essay_id in enumerate(["a", "b", "c"])
    ]
    assert (completed["provisioned_count"], completed["expected_count"]) == (3, 3)
    assert (completed["course_code"], completed["user_id"]) == ("ENG6", "ms-frizzle")


async def test_a_sent_event_is_not_published_again(harness: BatchHarness) -> None:
    records = [
        harness.registration(essays=2, class_id=CLASS),
        harness.content(0),
        harness.failure(1),
        harness.content(2),
        harness.associations(2),
    ]
    await harness.one_by_one(*records)

    async with harness.all_sent():
        await harness.one_by_one(*records, *records[::-1])
        assert await harness.outbox_events() == []


async def test_every_value_is_json_that_names_its_batch(harness: BatchHarness) -> None:
    for event in await everything(harness):
        assert json.loads(event.value)["data"]["batch_id"] == make.BATCH
        assert event.envelope["event_type"] == event.topic
        assert event.headers["ce_subject"] == event.key == make.BATCH.encode()


async def test_events_carry_the_input_timestamp_of_their_record(
    harness: BatchHarness,
) -> None:
    content = replace(harness.content(0), timestamp=1_769_860_812_345)
    await harness.together(harness.registration(essays=1))
    await harness.together(content)
    await harness.together(harness.record(topics.CONTENT_PROVISIONED, b"Dear file service,"))

    timestamps = await harness.rows("SELECT topic, input_timestamp_low31 FROM unsent_events ORDER BY position")

    of_content = truncate_timestamp(content.timestamp)
    assert [tuple(row) for row in timestamps] == [
        (topics.SLOT_ASSIGNED, of_content),
        (topics.PROVISIONING_COMPLETED, of_content),
        (topics.DEAD_LETTER, truncate_timestamp(make.record("", b"").timestamp)),
    ]
