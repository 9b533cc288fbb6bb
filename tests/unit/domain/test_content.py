from __future__ import annotations

from els_stream.domain import outcomes
from els_stream.domain.batch import BatchState
from els_stream.events.dead_letter_reasons import DeadLetterReason
from tests.support.batch_builders import admit, content, counts, failure, fresh_inventory, labels, told

A_TEXT = "the-ethics-of-eating-the-last-cinnamon-bun"


def test_a_content_takes_a_free_slot() -> None:
    inventory = fresh_inventory(2)

    (outcome,) = admit(inventory, content(0))

    assert isinstance(outcome, outcomes.Assigned)
    assert outcome.slot is inventory.claims[0]
    assert counts(inventory) == (1, 1, 0)
    assert told(inventory) == ["SlotWasAssigned"]


def test_second_delivery_of_same_content_takes_no_slot() -> None:
    inventory = fresh_inventory(3)

    assert labels(inventory, content(0), content(0)) == ["assigned", "already_assigned"]
    assert counts(inventory) == (2, 1, 0)
    assert told(inventory) == ["SlotWasAssigned"]


def test_the_same_text_under_another_upload_is_a_repeat_counted_apart() -> None:
    inventory = fresh_inventory(3)

    first, copied = admit(inventory, content(0, text_storage_id=A_TEXT), content(1, text_storage_id=A_TEXT))

    assert first.label == "assigned"
    assert isinstance(copied, outcomes.AlreadyAssignedByOtherUpload)
    assert copied.slot is inventory.claims[0]
    assert counts(inventory) == (2, 1, 0)


def test_the_same_upload_with_another_text_is_a_dead_letter() -> None:
    inventory = fresh_inventory(3)

    _, second = admit(inventory, content(0), content(0, text_storage_id="the-same-but-longer"))

    assert isinstance(second, outcomes.Refused)
    assert second.reason is DeadLetterReason.UPLOAD_ALREADY_PROVISIONED
    assert counts(inventory) == (2, 1, 0)


def test_a_content_that_finds_the_batch_full_is_excess_and_told_once() -> None:
    inventory = fresh_inventory(1)

    assert labels(inventory, content(0), content(1), content(1)) == ["assigned", "excess", "already_excess"]
    assert [c.event.original_file_name for c in inventory.excess] == [content(1).event.original_file_name]
    assert told(inventory) == ["SlotWasAssigned", "ContentBecameComplete", "ContentWasExcess"]


def test_an_excess_text_under_another_upload_stays_excess() -> None:
    inventory = fresh_inventory(1)

    found = labels(inventory, content(0), content(1, text_storage_id=A_TEXT), content(2, text_storage_id=A_TEXT))

    assert found == ["assigned", "excess", "already_excess"]
    assert len(inventory.excess) == 1


def test_an_upload_that_was_excess_cannot_bring_another_text() -> None:
    inventory = fresh_inventory(1)

    *_, second = admit(inventory, content(0), content(1), content(1, text_storage_id="now-with-footnotes"))

    assert isinstance(second, outcomes.Refused)
    assert second.reason is DeadLetterReason.UPLOAD_ALREADY_PROVISIONED


def test_a_repeat_after_completion_is_a_repeat_and_not_excess() -> None:
    inventory = fresh_inventory(1)

    assert labels(inventory, content(0), content(0)) == ["assigned", "already_assigned"]
    assert inventory.excess == []


def test_content_after_the_failure_of_its_upload_takes_over_the_slot() -> None:
    inventory = fresh_inventory(2)

    lost, found = admit(inventory, failure(0), content(0))

    assert isinstance(lost, outcomes.SlotFailed)
    assert isinstance(found, outcomes.TookOverFailedSlot)
    assert found.slot is lost.slot
    assert counts(inventory) == (1, 1, 0)


def test_a_slot_that_fails_and_is_taken_over_in_one_go_is_claimed_once_and_for_the_content() -> None:
    inventory = fresh_inventory(2)

    admit(inventory, failure(0), content(0))

    (slot,) = inventory.claims
    assert slot.holder == content(0)
    assert slot.text_storage_id == content(0).event.text_storage_id
    assert inventory.take_overs == []
    assert [f.event.file_upload_id for f in inventory.failures] == [slot.file_upload_id]


def test_a_slot_whose_row_holds_the_failure_is_taken_over_by_an_update_and_not_claimed_again() -> None:
    yesterday, today = fresh_inventory(2), fresh_inventory(2)
    admit(yesterday, failure(0))
    (slot,) = yesterday.claims
    slot.essay_id = "essay-00000"
    today.batch = yesterday.batch
    today.holds(slot)

    assert labels(today, content(0)) == ["took_over_failed_slot"]
    assert today.claims == []
    assert [taken.essay_id for taken, _ in today.take_overs] == ["essay-00000"]
    assert counts(today) == (1, 1, 0)


def test_content_after_its_failure_is_excess_once_the_batch_is_complete() -> None:
    inventory = fresh_inventory(2)

    assert labels(inventory, content(1), failure(0), content(0)) == ["assigned", "slot_failed", "excess"]
    assert counts(inventory) == (0, 1, 1)
    assert inventory.batch.state is BatchState.COMPLETED


def test_repeats_alone_change_nothing() -> None:
    yesterday, today = fresh_inventory(3), fresh_inventory(3)
    admit(yesterday, content(0))
    today.batch = yesterday.batch
    today.holds(yesterday.claims[0])

    assert labels(today, content(0)) == ["already_assigned"]
    assert not today.changed
