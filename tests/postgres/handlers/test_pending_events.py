from __future__ import annotations

from itertools import permutations

import pytest

from els_stream.events import topics
from els_stream.events.headers import decode_headers
from els_stream.handlers import registration
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic

CLASS = "class-9b"


async def test_a_content_that_comes_before_its_batch_parks_beside_it(school: BatchHarness) -> None:
    assert await school.together(school.content(0)) == ["pending"]

    assert await school.counts() == ("unregistered", 0, 0, 0, 1)
    assert await school.told() == []


async def test_what_is_parked_keeps_the_raw_record_and_its_place_in_kafka(school: BatchHarness) -> None:
    record = school.failure(0)

    await school.together(record)

    (row,) = await school.rows("SELECT * FROM batch_pending_events")
    assert (row.source_topic, row.source_partition, row.source_offset) == (record.topic, 0, record.offset)
    assert (row.source_timestamp, row.key, row.value) == (record.timestamp, record.key, record.value)
    assert decode_headers(row.headers) == record.headers


@pytest.mark.parametrize("at_once", [True, False])
async def test_repeats_of_what_is_parked_park_once(school: BatchHarness, *, at_once: bool) -> None:
    deliver = school.together if at_once else school.one_by_one

    for early in (school.content(0), school.failure(1), school.associations(2)):
        assert await deliver(early, early) == ["pending", "already_pending"]
    assert await school.counts() == ("unregistered", 0, 0, 0, 3)


@pytest.mark.parametrize("essays", [1, 2])
async def test_of_two_uploads_with_one_text_the_first_takes_the_slot(school: BatchHarness, essays: int) -> None:
    copied = school.content(1, text_storage_id="text-batch-of-9b-00000")

    assert await school.one_by_one(school.content(0), copied, copied) == ["pending", "pending", "already_pending"]
    await school.together(school.registration(essays=essays))
    assert [slot.original_file_name for slot in await school.slots()] == [make.file_name(0), None][:essays]
    assert (await school.kinds())[:1] == ["assigned"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_text_does_not_go_with_a_second_text_that_its_upload_may_not_bring(
    school: BatchHarness, *, at_once: bool
) -> None:
    """The last upload is its text's only way to a slot: it is no repeat of what is refused."""
    second_draft = school.content(0, text_storage_id="second-draft")
    handed_in_by_another = school.content(1, text_storage_id="second-draft")
    deliver = school.together if at_once else school.one_by_one

    assert await deliver(school.content(0), second_draft, handed_in_by_another) == ["pending", "dead_letter", "pending"]
    await school.together(school.registration(essays=2))

    assert [slot.text_storage_id for slot in await school.slots()] == ["text-batch-of-9b-00000", "second-draft"]
    assert await school.reasons() == ["upload_already_provisioned"]


async def test_the_registration_uses_parked_contents_in_order_of_arrival(school: BatchHarness) -> None:
    await school.together(*school.contents([5, 3]))
    await school.together(school.content(4))

    assert await school.together(school.registration(essays=3)) == ["registered"]
    assert await school.counts() == ("completed", 0, 3, 0, 0)
    assert [slot.original_file_name for slot in await school.slots()] == [make.file_name(n) for n in (5, 3, 4)]
    assert await school.kinds() == ["assigned", "assigned", "assigned", "completed"]
    assert await school.rows("SELECT batch_id FROM batch_pending_events") == []


async def test_more_parked_than_slots_and_the_last_to_arrive_are_excess(school: BatchHarness) -> None:
    await school.one_by_one(*school.contents([4, 1, 3, 0]))

    await school.together(school.registration(essays=2))

    assert [slot.original_file_name for slot in await school.slots()] == [make.file_name(4), make.file_name(1)]
    told = await school.told()
    assert [event.kind for event in told] == ["assigned", "assigned", "completed", "excess", "excess"]
    assert [event.data["original_file_name"] for event in told[3:]] == [make.file_name(3), make.file_name(0)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_content_failure_and_associations_parked_in_any_order_make_a_regular_batch_ready(
    school: BatchHarness, order: tuple[int, ...]
) -> None:
    early = [school.content(0), school.failure(1), school.associations(2)]
    await school.one_by_one(*(early[index] for index in order))

    await school.together(school.registration(essays=2, class_id=CLASS))

    assert await school.counts() == ("completed", 0, 1, 1, 0)
    assert await school.kinds() == ["assigned", "errors", "completed", "ready"]


async def test_a_parked_failure_holds_the_slot_that_a_later_content_does_not_get(school: BatchHarness) -> None:
    await school.one_by_one(school.failure(0), school.content(1))

    await school.together(school.registration(essays=1))

    assert await school.counts() == ("completed", 0, 0, 1, 0)
    assert await school.kinds() == ["errors", "completed", "excess"]


async def test_parked_failure_and_content_of_one_upload_take_one_slot(school: BatchHarness) -> None:
    await school.one_by_one(school.failure(0), school.content(0))

    await school.together(school.registration(essays=2))

    assert await school.counts() == ("open", 1, 1, 0, 0)
    assert await school.together(school.failure(0)) == ["already_failed"]


async def test_parked_associations_that_turn_out_wrong_are_dead_letters_of_their_own_record(
    school: BatchHarness,
) -> None:
    record = school.associations(["an-essay-of-9a"])
    await school.one_by_one(record, school.associations(1, class_id="class-9a"))

    await school.together(school.registration(essays=1, class_id=CLASS))

    assert await school.reasons() == ["unknown_essay", "class_mismatch"]
    letter = (await school.rows("SELECT * FROM dead_letters ORDER BY id"))[0]
    assert (letter.source_topic, letter.source_offset, letter.value) == (record.topic, record.offset, record.value)
    assert letter.batch_id == make.BATCH
    assert (await school.tracker()).associations_confirmed_at is None


async def test_an_early_second_text_of_an_upload_is_a_dead_letter_at_once(school: BatchHarness) -> None:
    second_draft = school.content(0, text_storage_id="second-draft")
    assert await school.one_by_one(school.content(0), second_draft) == ["pending", "dead_letter"]

    await school.together(school.registration(essays=2))

    assert await school.reasons() == ["upload_already_provisioned"]
    assert await school.counts() == ("open", 1, 1, 0, 0)


async def test_redelivery_of_what_was_parked_is_a_repeat_after_the_registration(school: BatchHarness) -> None:
    early = [school.content(0), school.failure(1), school.associations(3)]
    await school.one_by_one(*early, school.registration(essays=3, class_id=CLASS))

    assert await school.one_by_one(*early) == ["already_assigned", "already_failed", "associations_updated"]


async def test_one_registration_micro_batch_drains_many_batches_each_in_its_order(school: BatchHarness) -> None:
    batches = [f"early-birds-{number}" for number in range(20)]
    await school.together(*(school.content(number, batch_id) for number in (2, 1, 0) for batch_id in batches))

    await school.together(*(school.registration(batch_id, essays=2) for batch_id in batches))

    for batch_id in batches:
        assert [slot.original_file_name for slot in await school.slots(batch_id)] == [
            make.file_name(2),
            make.file_name(1),
        ]
        assert await school.kinds(batch_id) == ["assigned", "assigned", "completed", "excess"]


@pytest.mark.parametrize("at_once", [1, 2, 7, 1000])
async def test_however_many_are_used_at_once_the_registration_means_the_same(
    school: BatchHarness, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(registration, "_AT_ONCE", at_once)
    for batch_id in ("9a", "9b"):
        await school.one_by_one(
            *school.contents([0, 1], batch_id),
            school.failure(0, batch_id),
            school.failure(2, batch_id),
            school.associations(["an-essay-of-7a"], batch_id),
            school.associations(4, batch_id),
            *school.contents([2, 3, 4, 5], batch_id),
        )

    registrations = [school.registration(batch_id, essays=4, class_id=CLASS) for batch_id in ("9a", "9b")]
    assert await school.together(*registrations) == ["registered"] * 2

    for batch_id in ("9a", "9b"):
        assert await school.counts(batch_id) == ("completed", 0, 4, 0, 0)
        assert await school.kinds(batch_id) == [*["assigned"] * 4, "completed", "ready", "excess", "excess"]
    assert await school.reasons() == ["unknown_essay"] * 2


@pytest.mark.long
async def test_as_many_as_may_park_are_used_within_the_limits_of_a_transaction(school: BatchHarness) -> None:
    for start in range(0, 20_000, 1000):
        await school.together(*school.contents(range(start, start + 1000)))

    assert await school.together(school.registration(essays=10_000)) == ["registered"]
    assert await school.counts() == ("completed", 0, 10_000, 0, 0)


async def test_beyond_the_limit_nothing_more_parks_for_a_batch_and_each_is_a_dead_letter(school: BatchHarness) -> None:
    school.handlers = handlers_by_topic(max_parked=3)
    first = school.contents([0, 1])

    assert await school.together(*first) == ["pending", "pending"]
    assert await school.together(school.failure(2), school.failure(3)) == ["pending", "dead_letter"]
    assert await school.one_by_one(school.associations(), *first) == [
        "dead_letter",
        "already_pending",
        "already_pending",
    ]
    assert await school.together(school.content(0, "another-batch")) == ["pending"]
    assert await school.reasons() == ["too_many_parked", "too_many_parked"]

    await school.together(school.registration(essays=5))
    assert await school.counts() == ("open", 2, 2, 1, 0)


async def test_a_micro_batch_of_early_and_timely_contents_gives_each_its_own_fate_in_order(
    school: BatchHarness,
) -> None:
    await school.together(school.registration("on-time", essays=2))
    early, timely = school.contents([0, 1], "early"), school.contents([0, 1, 2], "on-time")

    labels = await school.together(timely[0], early[0], timely[1], early[1], timely[2])

    assert labels == ["assigned", "pending", "assigned", "pending", "excess"]


async def test_a_parked_record_that_a_later_release_cannot_read_is_a_dead_letter_and_not_lost(
    school: BatchHarness,
) -> None:
    await school.one_by_one(school.content(0), school.content(1))
    await school.execute("UPDATE batch_pending_events SET value = '{}' WHERE subject = 'upload-batch-of-9b-00000'")

    assert await school.together(school.registration(essays=1)) == ["registered"]
    assert await school.reasons() == ["contract_violation"]
    assert await school.counts() == ("completed", 0, 1, 0, 0)
    assert topics.DEAD_LETTER in {event.topic for event in await school.told()}
