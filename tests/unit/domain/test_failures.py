from __future__ import annotations

from els_stream.domain.batch import BatchState
from tests.support.batch_builders import content, counts, facts, failure, labels, new_allocation


def test_a_failed_file_consumes_a_free_slot() -> None:
    allocation = new_allocation(2)

    assert labels(allocation, failure(0)) == ["slot_failed"]
    assert counts(allocation) == (1, 0, 1)
    assert facts(allocation) == []
    assert allocation.claims[0].text_storage_id is None


def test_second_delivery_of_the_same_failure_consumes_nothing() -> None:
    allocation = new_allocation(3)

    assert labels(allocation, failure(0), failure(0)) == ["slot_failed", "already_failed"]
    assert counts(allocation) == (2, 0, 1)
    assert len(allocation.failures) == 1


def test_an_upload_that_fails_for_a_second_reason_is_a_repeat() -> None:
    allocation = new_allocation(3)

    assert labels(allocation, failure(0), failure(0, validation_error_code="CONTENT_TOO_SHORT")) == [
        "slot_failed",
        "already_failed",
    ]


def test_a_failure_after_the_content_of_its_upload_is_recorded_and_nothing_else() -> None:
    allocation = new_allocation(3)

    assert labels(allocation, content(0), failure(0)) == ["assigned", "failure_recorded"]
    assert counts(allocation) == (2, 1, 0)
    assert len(allocation.failures) == 1
    assert facts(allocation) == ["SlotWasAssigned"]


def test_a_failure_that_finds_no_free_slot_is_recorded_without_an_event() -> None:
    allocation = new_allocation(1)

    assert labels(allocation, content(0), failure(1)) == ["assigned", "failure_recorded"]
    assert len(allocation.failures) == 1
    assert facts(allocation) == ["SlotWasAssigned", "ContentBecameComplete"]


def test_a_failure_of_an_upload_that_was_excess_is_recorded() -> None:
    allocation = new_allocation(1)

    assert labels(allocation, content(0), content(1), failure(1)) == ["assigned", "excess", "failure_recorded"]


def test_a_failure_may_be_what_completes_the_batch() -> None:
    allocation = new_allocation(2)

    labels(allocation, content(0), failure(1))

    assert allocation.batch.state is BatchState.COMPLETED
    assert facts(allocation) == ["SlotWasAssigned", "ContentBecameComplete"]


def test_a_recorded_failure_does_not_keep_the_upload_from_its_slot() -> None:
    allocation = new_allocation(3)

    assert labels(allocation, content(0), failure(0), content(0)) == [
        "assigned",
        "failure_recorded",
        "already_assigned",
    ]
    assert counts(allocation) == (2, 1, 0)
