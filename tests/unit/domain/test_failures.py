from __future__ import annotations

from els_stream.domain.batch import BatchState
from tests.support.batch_builders import content, counts, failure, fresh_inventory, labels, told


def test_a_failed_file_consumes_a_free_slot() -> None:
    inventory = fresh_inventory(2)

    assert labels(inventory, failure(0)) == ["slot_failed"]
    assert counts(inventory) == (1, 0, 1)
    assert told(inventory) == []
    assert inventory.claims[0].text_storage_id is None


def test_second_delivery_of_the_same_failure_consumes_nothing() -> None:
    inventory = fresh_inventory(3)

    assert labels(inventory, failure(0), failure(0)) == ["slot_failed", "already_failed"]
    assert counts(inventory) == (2, 0, 1)
    assert len(inventory.failures) == 1


def test_an_upload_that_fails_for_a_second_reason_is_a_repeat() -> None:
    inventory = fresh_inventory(3)

    assert labels(inventory, failure(0), failure(0, validation_error_code="CONTENT_TOO_SHORT")) == [
        "slot_failed",
        "already_failed",
    ]


def test_a_failure_after_the_content_of_its_upload_is_recorded_and_nothing_else() -> None:
    inventory = fresh_inventory(3)

    assert labels(inventory, content(0), failure(0)) == ["assigned", "failure_recorded"]
    assert counts(inventory) == (2, 1, 0)
    assert len(inventory.failures) == 1
    assert told(inventory) == ["SlotWasAssigned"]


def test_a_failure_that_finds_no_free_slot_is_recorded_without_an_event() -> None:
    inventory = fresh_inventory(1)

    assert labels(inventory, content(0), failure(1)) == ["assigned", "failure_recorded"]
    assert len(inventory.failures) == 1
    assert told(inventory) == ["SlotWasAssigned", "ContentBecameComplete"]


def test_a_failure_of_an_upload_that_was_excess_is_recorded() -> None:
    inventory = fresh_inventory(1)

    assert labels(inventory, content(0), content(1), failure(1)) == ["assigned", "excess", "failure_recorded"]


def test_a_failure_may_be_what_completes_the_batch() -> None:
    inventory = fresh_inventory(2)

    labels(inventory, content(0), failure(1))

    assert inventory.batch.state is BatchState.COMPLETED
    assert told(inventory) == ["SlotWasAssigned", "ContentBecameComplete"]


def test_a_recorded_failure_does_not_keep_the_upload_from_its_slot() -> None:
    inventory = fresh_inventory(3)

    assert labels(inventory, content(0), failure(0), content(0)) == ["assigned", "failure_recorded", "already_assigned"]
    assert counts(inventory) == (2, 1, 0)
