from __future__ import annotations

from itertools import permutations

import pytest

from els_stream.events import topics
from els_stream.events.headers import decode_headers
from els_stream.handlers import registration
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic

CLASS = "class-9b"


async def test_a_content_before_its_registration_is_pending(harness: BatchHarness) -> None:
    assert await harness.together(harness.content(0)) == ["pending"]

    assert await harness.counts() == ("unregistered", 0, 0, 0, 1)
    assert await harness.outbox_events() == []


async def test_a_pending_event_keeps_the_raw_record_and_its_position(harness: BatchHarness) -> None:
    record = harness.failure(0)

    await harness.together(record)

    (row,) = await harness.rows("SELECT * FROM batch_pending_events")
    assert (row.source_topic, row.source_partition, row.source_offset) == (record.topic, 0, record.offset)
    assert (row.source_timestamp, row.key, row.value) == (record.timestamp, record.key, record.value)
    assert decode_headers(row.headers) == record.headers


@pytest.mark.parametrize("at_once", [True, False])
async def test_repeats_of_a_pending_event_are_stored_once(harness: BatchHarness, *, at_once: bool) -> None:
    deliver = harness.together if at_once else harness.one_by_one

    for early in (harness.content(0), harness.failure(1), harness.associations(2)):
        assert await deliver(early, early) == ["pending", "already_pending"]
    assert await harness.counts() == ("unregistered", 0, 0, 0, 3)


@pytest.mark.parametrize("essays", [1, 2])
async def test_of_two_uploads_with_one_text_the_first_takes_the_slot(harness: BatchHarness, essays: int) -> None:
    copied = harness.content(1, text_storage_id="text-batch-of-9b-00000")

    assert await harness.one_by_one(harness.content(0), copied, copied) == ["pending", "pending", "already_pending"]
    await harness.together(harness.registration(essays=essays))
    assert [slot.original_file_name for slot in await harness.slots()] == [make.file_name(0), None][:essays]
    assert (await harness.kinds())[:1] == ["assigned"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_refused_second_text_of_an_upload_can_come_by_another_upload(
    harness: BatchHarness, *, at_once: bool
) -> None:
    """The refused record is not stored, so the other upload of its text is no repeat."""
    second_draft = harness.content(0, text_storage_id="second-draft")
    handed_in_by_another = harness.content(1, text_storage_id="second-draft")
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(harness.content(0), second_draft, handed_in_by_another) == [
        "pending",
        "dead_letter",
        "pending",
    ]
    await harness.together(harness.registration(essays=2))

    assert [slot.text_storage_id for slot in await harness.slots()] == ["text-batch-of-9b-00000", "second-draft"]
    assert await harness.reasons() == ["upload_already_provisioned"]


async def test_the_registration_applies_pending_contents_in_order_of_arrival(harness: BatchHarness) -> None:
    await harness.together(*harness.contents([5, 3]))
    await harness.together(harness.content(4))

    assert await harness.together(harness.registration(essays=3)) == ["registered"]
    assert await harness.counts() == ("completed", 0, 3, 0, 0)
    assert [slot.original_file_name for slot in await harness.slots()] == [make.file_name(n) for n in (5, 3, 4)]
    assert await harness.kinds() == ["assigned", "assigned", "assigned", "completed"]
    assert await harness.rows("SELECT batch_id FROM batch_pending_events") == []


async def test_of_more_pending_contents_than_slots_the_last_are_excess(harness: BatchHarness) -> None:
    await harness.one_by_one(*harness.contents([4, 1, 3, 0]))

    await harness.together(harness.registration(essays=2))

    assert [slot.original_file_name for slot in await harness.slots()] == [make.file_name(4), make.file_name(1)]
    published = await harness.outbox_events()
    assert [event.kind for event in published] == ["assigned", "assigned", "completed", "excess", "excess"]
    assert [event.data["original_file_name"] for event in published[3:]] == [make.file_name(3), make.file_name(0)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_pending_events_in_any_order_make_a_regular_batch_ready(
    harness: BatchHarness, order: tuple[int, ...]
) -> None:
    early = [harness.content(0), harness.failure(1), harness.associations(2)]
    await harness.one_by_one(*(early[index] for index in order))

    await harness.together(harness.registration(essays=2, class_id=CLASS))

    assert await harness.counts() == ("completed", 0, 1, 1, 0)
    assert await harness.kinds() == ["assigned", "errors", "completed", "ready"]


async def test_a_pending_failure_takes_the_slot_before_a_later_content(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.failure(0), harness.content(1))

    await harness.together(harness.registration(essays=1))

    assert await harness.counts() == ("completed", 0, 0, 1, 0)
    assert await harness.kinds() == ["errors", "completed", "excess"]


async def test_pending_failure_and_content_of_one_upload_take_one_slot(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.failure(0), harness.content(0))

    await harness.together(harness.registration(essays=2))

    assert await harness.counts() == ("open", 1, 1, 0, 0)
    assert await harness.together(harness.failure(0)) == ["already_failed"]


async def test_refused_pending_associations_are_dead_letters_of_their_own_record(
    harness: BatchHarness,
) -> None:
    record = harness.associations(["an-essay-of-9a"])
    await harness.one_by_one(record, harness.associations(1, class_id="class-9a"))

    await harness.together(harness.registration(essays=1, class_id=CLASS))

    assert await harness.reasons() == ["unknown_essay", "class_mismatch"]
    row = (await harness.rows("SELECT * FROM dead_letters ORDER BY id"))[0]
    assert (row.source_topic, row.source_offset, row.value) == (record.topic, record.offset, record.value)
    assert row.batch_id == make.BATCH
    assert (await harness.tracker()).associations_confirmed_at is None


async def test_a_second_text_of_a_pending_upload_is_a_dead_letter_at_once(harness: BatchHarness) -> None:
    second_draft = harness.content(0, text_storage_id="second-draft")
    assert await harness.one_by_one(harness.content(0), second_draft) == ["pending", "dead_letter"]

    await harness.together(harness.registration(essays=2))

    assert await harness.reasons() == ["upload_already_provisioned"]
    assert await harness.counts() == ("open", 1, 1, 0, 0)


async def test_a_redelivered_pending_event_is_a_repeat_after_the_registration(harness: BatchHarness) -> None:
    early = [harness.content(0), harness.failure(1), harness.associations(3)]
    await harness.one_by_one(*early, harness.registration(essays=3, class_id=CLASS))

    assert await harness.one_by_one(*early) == ["already_assigned", "already_failed", "associations_updated"]


async def test_one_micro_batch_of_registrations_applies_the_events_of_each_in_order(harness: BatchHarness) -> None:
    batches = [f"early-birds-{number}" for number in range(20)]
    await harness.together(*(harness.content(number, batch_id) for number in (2, 1, 0) for batch_id in batches))

    await harness.together(*(harness.registration(batch_id, essays=2) for batch_id in batches))

    for batch_id in batches:
        assert [slot.original_file_name for slot in await harness.slots(batch_id)] == [
            make.file_name(2),
            make.file_name(1),
        ]
        assert await harness.kinds(batch_id) == ["assigned", "assigned", "completed", "excess"]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_the_chunk_size_of_pending_events_does_not_change_the_result(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(registration, "CHUNK_SIZE", size)
    for batch_id in ("9a", "9b"):
        await harness.one_by_one(
            *harness.contents([0, 1], batch_id),
            harness.failure(0, batch_id),
            harness.failure(2, batch_id),
            harness.associations(["an-essay-of-7a"], batch_id),
            harness.associations(4, batch_id),
            *harness.contents([2, 3, 4, 5], batch_id),
        )

    registrations = [harness.registration(batch_id, essays=4, class_id=CLASS) for batch_id in ("9a", "9b")]
    assert await harness.together(*registrations) == ["registered"] * 2

    for batch_id in ("9a", "9b"):
        assert await harness.counts(batch_id) == ("completed", 0, 4, 0, 0)
        assert await harness.kinds(batch_id) == [*["assigned"] * 4, "completed", "ready", "excess", "excess"]
    assert await harness.reasons() == ["unknown_essay"] * 2


@pytest.mark.long
async def test_the_most_pending_events_are_applied_within_the_transaction_limits(harness: BatchHarness) -> None:
    for start in range(0, 20_000, 1000):
        await harness.together(*harness.contents(range(start, start + 1000)))

    assert await harness.together(harness.registration(essays=10_000)) == ["registered"]
    assert await harness.counts() == ("completed", 0, 10_000, 0, 0)


async def test_pending_events_beyond_the_limit_are_dead_letters(harness: BatchHarness) -> None:
    harness.handlers = handlers_by_topic(max_pending=3)
    first = harness.contents([0, 1])

    assert await harness.together(*first) == ["pending", "pending"]
    assert await harness.together(harness.failure(2), harness.failure(3)) == ["pending", "dead_letter"]
    assert await harness.one_by_one(harness.associations(), *first) == [
        "dead_letter",
        "already_pending",
        "already_pending",
    ]
    assert await harness.together(harness.content(0, "another-batch")) == ["pending"]
    assert await harness.reasons() == ["too_many_parked", "too_many_parked"]

    await harness.together(harness.registration(essays=5))
    assert await harness.counts() == ("open", 2, 2, 1, 0)


async def test_pending_and_applied_contents_of_one_micro_batch_keep_their_order(
    harness: BatchHarness,
) -> None:
    await harness.together(harness.registration("on-time", essays=2))
    early, timely = harness.contents([0, 1], "early"), harness.contents([0, 1, 2], "on-time")

    labels = await harness.together(timely[0], early[0], timely[1], early[1], timely[2])

    assert labels == ["assigned", "pending", "assigned", "pending", "excess"]


async def test_a_pending_record_that_a_later_release_rejects_is_a_dead_letter(
    harness: BatchHarness,
) -> None:
    await harness.one_by_one(harness.content(0), harness.content(1))
    await harness.execute("UPDATE batch_pending_events SET value = '{}' WHERE subject = 'upload-batch-of-9b-00000'")

    assert await harness.together(harness.registration(essays=1)) == ["registered"]
    assert await harness.reasons() == ["contract_violation"]
    assert await harness.counts() == ("completed", 0, 1, 0, 0)
    assert topics.DEAD_LETTER in {event.topic for event in await harness.outbox_events()}
