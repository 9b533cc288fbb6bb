from __future__ import annotations

import pytest

from tests.support import factories as make
from tests.support.batch_harness import BatchHarness

CLASS = "class-9b"


async def test_a_failed_file_consumes_a_free_slot_and_publishes_nothing_yet(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))

    assert await harness.together(harness.failure(0)) == ["slot_failed"]
    assert await harness.counts() == ("open", 1, 0, 1, 0)
    failed, free = await harness.slots()
    assert (failed.current_status, failed.text_storage_id) == ("content_ingestion_failed", None)
    assert (failed.file_upload_id, failed.original_file_name) == ("upload-batch-of-9b-00000", make.file_name(0))
    assert failed.failed_at is not None
    assert free.current_status == "uploaded"
    assert await harness.outbox_events() == []


@pytest.mark.parametrize("at_once", [True, False])
async def test_second_delivery_of_the_same_failure_consumes_nothing(harness: BatchHarness, *, at_once: bool) -> None:
    await harness.together(harness.registration(essays=3))
    failure = harness.failure(0)
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(failure, failure) == ["slot_failed", "already_failed"]
    assert await harness.counts() == ("open", 2, 0, 1, 0)


async def test_a_failure_that_completes_the_batch_publishes_the_errors_first(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=3), harness.content(0))

    await harness.together(harness.failure(1, validation_error_code="ENCRYPTED_FILE_UNSUPPORTED"), harness.failure(2))

    assert await harness.counts() == ("completed", 0, 1, 2, 0)
    assert await harness.kinds() == ["assigned", "errors", "completed"]
    _, errors, completed = await harness.outbox_events()
    assert (completed.data["provisioned_count"], completed.data["expected_count"]) == (1, 3)
    assert errors.data["error_summary"] == {
        "total_errors": 2,
        "error_categories": {"EMPTY_CONTENT": 1, "ENCRYPTED_FILE_UNSUPPORTED": 1},
        "critical_failure": False,
    }
    assert [(e["essay_id"], e["file_name"]) for e in errors.data["failed_essays"]] == [
        (make.essay_ids(3)[1], make.file_name(1)),
        (make.essay_ids(3)[2], make.file_name(2)),
    ]


async def test_the_errors_event_repeats_the_details_of_the_validation(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=1))

    await harness.together(harness.failure(0, timestamp="2026-01-31T13:37:00+01:00"))

    (failed,) = (await harness.outbox_events())[0].data["failed_essays"]
    assert failed["failed_at"] == "2026-01-31T12:37:00.000000Z"
    assert failed["error_detail"]["message"] == "Twelve pages, all of them blank"
    assert failed["error_detail"]["details"] == {"pages": 12, "words": 0}


async def test_numbers_of_the_validation_are_published_within_64_bits(harness: BatchHarness) -> None:
    """PostgreSQL stores 1e300 as an integer of 301 digits, which our own decoder would reject."""
    details = {"words": 1e300, "pages": 2**63 - 1, "debt": -(2**63), "ink": 1e-7}
    await harness.together(harness.registration(essays=1))

    await harness.together(harness.failure(0, validation_error_detail=make.error_detail(details=details)))

    (failed,) = (await harness.outbox_events())[0].data["failed_essays"]
    assert failed["error_detail"]["details"] == details
    assert b"1e+300" in (await harness.outbox_events())[0].value


@pytest.mark.parametrize(("class_id", "class_type"), [(None, "GUEST"), (CLASS, "REGULAR")])
async def test_a_batch_in_which_every_file_failed_is_completed_critical_and_never_ready(
    harness: BatchHarness, class_id: str | None, class_type: str
) -> None:
    await harness.together(harness.registration(essays=2, class_id=class_id))

    await harness.together(harness.failure(0), harness.failure(1))

    assert await harness.counts() == ("completed", 0, 0, 2, 0)
    row = await harness.tracker()
    assert row.class_type == class_type
    assert row.completed_at is not None
    assert await harness.kinds() == ["errors", "completed"]
    errors, completed = await harness.outbox_events()
    assert errors.data["error_summary"]["critical_failure"] is True
    assert completed.data["essays_for_processing"] == []


async def test_a_failure_after_the_content_of_its_upload_is_recorded_and_nothing_else(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=2), harness.content(0))

    assert await harness.one_by_one(harness.failure(0), harness.failure(0)) == ["failure_recorded", "already_failed"]
    assert await harness.counts() == ("open", 1, 1, 0, 0)
    assert await harness.together(harness.content(1)) == ["assigned"]
    assert await harness.kinds() == ["assigned", "assigned", "completed"]


@pytest.mark.parametrize("filler", ["content", "failure"])
async def test_content_takes_over_the_slot_of_its_failure_which_is_not_published(
    harness: BatchHarness, filler: str
) -> None:
    await harness.one_by_one(harness.registration(essays=2), harness.failure(0))

    assert await harness.together(harness.content(0)) == ["took_over_failed_slot"]
    assert await harness.counts() == ("open", 1, 1, 0, 0)
    taken, _ = await harness.slots()
    assert (taken.current_status, taken.failed_at, taken.version) == ("ready_for_processing", None, 3)
    assert taken.text_storage_id == "text-batch-of-9b-00000"

    if filler == "content":
        await harness.together(harness.content(1))
        assert await harness.kinds() == ["assigned", "assigned", "completed"]
    else:
        await harness.together(harness.failure(1))
        errors = (await harness.outbox_events())[1]
        assert [e["essay_id"] for e in errors.data["failed_essays"]] == [make.essay_ids(2)[1]]


async def test_content_after_its_failure_is_excess_once_the_batch_is_complete(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=2), harness.failure(0), harness.content(1))

    assert await harness.one_by_one(harness.content(0), harness.content(0)) == ["excess", "already_excess"]
    assert await harness.counts() == ("completed", 0, 1, 1, 0)
    assert await harness.kinds() == ["assigned", "errors", "completed", "excess"]


async def test_a_failure_that_finds_the_batch_full_is_recorded_without_an_event(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=1), harness.content(0))

    assert await harness.together(harness.failure(1)) == ["failure_recorded"]
    assert await harness.kinds() == ["assigned", "completed"]
    assert len(await harness.rows("SELECT 1 FROM batch_validation_failures")) == 1


async def test_many_batches_fail_in_one_micro_batch(harness: BatchHarness) -> None:
    batches = [f"a-bad-day-{number}" for number in range(20)]
    await harness.together(*(harness.registration(batch_id, essays=2) for batch_id in batches))

    labels = await harness.together(*(harness.failure(n, batch_id) for n in range(3) for batch_id in batches))

    assert labels == ["slot_failed"] * 40 + ["failure_recorded"] * 20
    for batch_id in batches:
        assert await harness.kinds(batch_id) == ["errors", "completed"]


async def test_a_failure_with_an_unknown_code_consumes_its_slot_and_keeps_the_code(harness: BatchHarness) -> None:
    """Other teams add codes first; the file failed all the same."""
    await harness.together(harness.registration(essays=1))

    assert await harness.together(harness.failure(0, validation_error_code="DOG_ATE_IT")) == ["slot_failed"]

    (stored,) = await harness.rows("SELECT error_code FROM batch_validation_failures")
    errors, _ = await harness.outbox_events()
    assert stored.error_code == "DOG_ATE_IT"
    assert errors.data["error_summary"]["error_categories"] == {"DOG_ATE_IT": 1}


async def test_a_pending_failure_with_an_unknown_code_is_applied(harness: BatchHarness) -> None:
    early = harness.failure(0, validation_error_code="DOG_ATE_IT")

    assert await harness.one_by_one(early, harness.registration(essays=1)) == ["pending", "registered"]
    assert await harness.counts() == ("completed", 0, 0, 1, 0)
