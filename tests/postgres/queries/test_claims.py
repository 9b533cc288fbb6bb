from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from els_stream.domain import outcomes
from els_stream.domain.claim_strategy import Strategy
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic


async def test_the_suite_runs_on_migrated_and_on_created_schemas(harness: BatchHarness, schema_by: str) -> None:
    (row,) = await harness.rows("SELECT to_regclass('els_schema_version') IS NULL AS created")

    assert row.created == (schema_by == "create_all")


async def test_contents_take_the_free_slots_in_the_order_of_their_ids(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=3))

    assert await harness.together(*harness.contents([7, 5])) == ["assigned", "assigned"]
    assert [slot.original_file_name for slot in await harness.slots()] == [make.file_name(7), make.file_name(5), None]
    assert await harness.counts() == ("open", 1, 2, 0, 0)


async def test_the_outcome_contains_the_slot(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))

    async with harness.engine.begin() as conn:
        (outcome,) = await harness.apply(conn, [harness.content(0)])

    assert isinstance(outcome, outcomes.Assigned)
    assert outcome.slot.essay_id == make.essay_ids(1)[0]


async def test_a_slot_stores_all_fields_of_its_content(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=1))

    await harness.together(harness.content(0, file_size_bytes=2**63 - 1, content_md5_hash=None))

    (slot,) = await harness.slots()
    assert (slot.current_status, slot.version) == ("ready_for_processing", 2)
    assert (slot.text_storage_id, slot.file_upload_id) == ("text-batch-of-9b-00000", "upload-batch-of-9b-00000")
    assert (slot.raw_file_storage_id, slot.original_file_name) == ("raw-batch-of-9b-00000", make.file_name(0))
    assert (slot.file_size_bytes, slot.content_md5_hash) == (2**63 - 1, None)
    assert str(slot.correlation_id) == make.stable_id("correlation")
    assert slot.filled_at is not None
    assert slot.failed_at is None


@pytest.mark.parametrize("at_once", [True, False])
async def test_second_delivery_of_same_content_takes_no_slot(harness: BatchHarness, *, at_once: bool) -> None:
    await harness.together(harness.registration(essays=3))
    content = harness.content(0)
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(content, content) == ["assigned", "already_assigned"]
    assert await harness.counts() == ("open", 2, 1, 0, 0)
    assert await harness.kinds() == ["assigned"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_same_text_under_another_upload_takes_no_slot(harness: BatchHarness, *, at_once: bool) -> None:
    await harness.together(harness.registration(essays=3))
    copied = harness.content(1, text_storage_id="text-batch-of-9b-00000")
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(harness.content(0), copied) == ["assigned", "already_assigned_by_other_upload"]
    assert await harness.counts() == ("open", 2, 1, 0, 0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_same_upload_with_another_text_is_a_dead_letter(harness: BatchHarness, *, at_once: bool) -> None:
    await harness.together(harness.registration(essays=3))
    second_draft = harness.content(0, text_storage_id="moby-dick-but-longer")
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(harness.content(0), second_draft) == ["assigned", "dead_letter"]
    assert await harness.reasons() == ["upload_already_provisioned"]
    assert await harness.counts() == ("open", 2, 1, 0, 0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_content_of_a_full_batch_is_excess_and_its_repeat_is_recognised(
    harness: BatchHarness, *, at_once: bool
) -> None:
    await harness.together(harness.registration(essays=1))
    deliver = harness.together if at_once else harness.one_by_one
    surplus = harness.content(1)

    assert await deliver(harness.content(0), surplus, surplus) == ["assigned", "excess", "already_excess"]
    (remembered,) = await harness.rows("SELECT * FROM batch_excess_content")
    assert (remembered.original_file_name, remembered.file_upload_id) == (
        make.file_name(1),
        "upload-batch-of-9b-00001",
    )
    assert await harness.kinds() == ["assigned", "completed", "excess"]


async def test_a_repeat_of_excess_is_recognised_after_its_event_was_sent(harness: BatchHarness) -> None:
    surplus = harness.content(1)
    await harness.one_by_one(harness.registration(essays=1), harness.content(0), surplus)

    async with harness.all_sent():
        assert await harness.one_by_one(surplus, harness.content(0)) == ["already_excess", "already_assigned"]
        assert await harness.together(harness.content(2, text_storage_id="text-batch-of-9b-00001")) == [
            "already_excess"
        ]
        assert await harness.outbox_events() == []


async def test_an_upload_that_was_excess_cannot_bring_another_text(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=1), harness.content(0), harness.content(1))

    assert await harness.together(harness.content(1, text_storage_id="now-with-footnotes")) == ["dead_letter"]
    assert await harness.reasons() == ["upload_already_provisioned"]


async def test_one_micro_batch_fills_many_batches_and_leaves_each_its_own_excess(harness: BatchHarness) -> None:
    batches = [f"class-set-{number}" for number in range(30)]
    await harness.together(*(harness.registration(batch_id, essays=2) for batch_id in batches))

    # Round robin, so that the contents of a batch are far apart.
    labels = await harness.together(*(harness.content(n, batch_id) for n in range(3) for batch_id in batches))

    assert labels == ["assigned"] * 60 + ["excess"] * 30
    for batch_id in batches:
        assert await harness.counts(batch_id) == ("completed", 0, 2, 0, 0)
        assert await harness.kinds(batch_id) == ["assigned", "assigned", "completed", "excess"]


async def test_equal_uploads_and_texts_of_two_batches_are_two_contents(harness: BatchHarness) -> None:
    await harness.together(harness.registration("9a", 1), harness.registration("9b", 1))
    ids = {"file_upload_id": "hamlet.docx", "text_storage_id": "to-text-or-not-to-text"}

    assert await harness.together(harness.content(0, "9a", **ids), harness.content(0, "9b", **ids)) == ["assigned"] * 2


async def test_a_slot_in_a_later_phase_is_neither_free_nor_lost(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=2), harness.content(0))
    await harness.execute("UPDATE essay_states SET current_status = 'spellchecking' WHERE text_storage_id IS NOT NULL")

    assert await harness.one_by_one(harness.content(0), harness.content(1)) == ["already_assigned", "assigned"]
    completed = (await harness.outbox_events())[-1]
    assert completed.data["provisioned_count"] == 2


@pytest.mark.parametrize("then", list(Strategy))
async def test_a_batch_keeps_the_slot_table_it_was_registered_with(harness: BatchHarness, then: Strategy) -> None:
    await harness.one_by_one(harness.registration(essays=3), harness.content(0))
    registered_with = (await harness.tracker()).inventory

    harness.handlers = handlers_by_topic(strategy=then)
    assert await harness.one_by_one(harness.content(0), harness.failure(1), harness.content(2), harness.content(3)) == [
        "already_assigned",
        "slot_failed",
        "assigned",
        "excess",
    ]

    assert (await harness.tracker()).inventory == registered_with
    assert await harness.counts() == ("completed", 0, 2, 1, 0)


async def test_the_database_rejects_a_content_in_two_slots(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=2), harness.content(0))
    forged = """
        UPDATE essay_states SET filled_at = now(), file_upload_id = :upload, text_storage_id = :text
        WHERE text_storage_id IS NULL
    """

    with pytest.raises(DBAPIError, match="uq_essay_states_text"):
        await harness.execute(forged, upload="forged", text="text-batch-of-9b-00000")
    with pytest.raises(DBAPIError, match="uq_essay_states_upload"):
        await harness.execute(forged, upload="upload-batch-of-9b-00000", text="forged")
