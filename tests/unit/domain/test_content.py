from __future__ import annotations

from els_stream.domain import outcomes
from els_stream.domain.batch import BatchState
from els_stream.events.dead_letter_reasons import DeadLetterReason
from tests.support.batch_builders import apply, content, counts, facts, failure, labels, new_allocation

A_TEXT = "the-ethics-of-eating-the-last-cinnamon-bun"


def test_a_content_takes_a_free_slot() -> None:
    allocation = new_allocation(2)

    (outcome,) = apply(allocation, content(0))

    assert isinstance(outcome, outcomes.Assigned)
    assert outcome.slot is allocation.claims[0]
    assert counts(allocation) == (1, 1, 0)
    assert facts(allocation) == ["SlotWasAssigned"]


def test_second_delivery_of_same_content_takes_no_slot() -> None:
    allocation = new_allocation(3)

    assert labels(allocation, content(0), content(0)) == ["assigned", "already_assigned"]
    assert counts(allocation) == (2, 1, 0)
    assert facts(allocation) == ["SlotWasAssigned"]


def test_the_same_text_under_another_upload_is_a_repeat_counted_apart() -> None:
    allocation = new_allocation(3)

    first, copied = apply(allocation, content(0, text_storage_id=A_TEXT), content(1, text_storage_id=A_TEXT))

    assert first.label == "assigned"
    assert isinstance(copied, outcomes.AlreadyAssignedByOtherUpload)
    assert copied.slot is allocation.claims[0]
    assert counts(allocation) == (2, 1, 0)


def test_the_same_upload_with_another_text_is_a_dead_letter() -> None:
    allocation = new_allocation(3)

    _, second = apply(allocation, content(0), content(0, text_storage_id="the-same-but-longer"))

    assert isinstance(second, outcomes.Refused)
    assert second.reason is DeadLetterReason.UPLOAD_ALREADY_PROVISIONED
    assert counts(allocation) == (2, 1, 0)


def test_a_content_that_finds_the_batch_full_is_excess_once() -> None:
    allocation = new_allocation(1)

    assert labels(allocation, content(0), content(1), content(1)) == ["assigned", "excess", "already_excess"]
    assert [c.event.original_file_name for c in allocation.excess] == [content(1).event.original_file_name]
    assert facts(allocation) == ["SlotWasAssigned", "ContentBecameComplete", "ContentWasExcess"]


def test_an_excess_text_under_another_upload_stays_excess() -> None:
    allocation = new_allocation(1)

    found = labels(allocation, content(0), content(1, text_storage_id=A_TEXT), content(2, text_storage_id=A_TEXT))

    assert found == ["assigned", "excess", "already_excess"]
    assert len(allocation.excess) == 1


def test_an_upload_that_was_excess_cannot_bring_another_text() -> None:
    allocation = new_allocation(1)

    *_, second = apply(allocation, content(0), content(1), content(1, text_storage_id="now-with-footnotes"))

    assert isinstance(second, outcomes.Refused)
    assert second.reason is DeadLetterReason.UPLOAD_ALREADY_PROVISIONED


def test_a_repeat_after_completion_is_a_repeat_and_not_excess() -> None:
    allocation = new_allocation(1)

    assert labels(allocation, content(0), content(0)) == ["assigned", "already_assigned"]
    assert allocation.excess == []


def test_content_after_the_failure_of_its_upload_takes_over_the_slot() -> None:
    allocation = new_allocation(2)

    lost, found = apply(allocation, failure(0), content(0))

    assert isinstance(lost, outcomes.SlotFailed)
    assert isinstance(found, outcomes.TookOverFailedSlot)
    assert found.slot is lost.slot
    assert counts(allocation) == (1, 1, 0)


def test_a_slot_failed_and_taken_over_in_one_batch_is_claimed_for_the_content() -> None:
    allocation = new_allocation(2)

    apply(allocation, failure(0), content(0))

    (slot,) = allocation.claims
    assert slot.holder == content(0)
    assert slot.text_storage_id == content(0).event.text_storage_id
    assert allocation.take_overs == []
    assert [f.event.file_upload_id for f in allocation.failures] == [slot.file_upload_id]


def test_a_stored_failed_slot_is_taken_over_by_an_update_and_not_claimed_again() -> None:
    before, after = new_allocation(2), new_allocation(2)
    apply(before, failure(0))
    (slot,) = before.claims
    slot.essay_id = "essay-00000"
    after.batch = before.batch
    after.add_holder(slot)

    assert labels(after, content(0)) == ["took_over_failed_slot"]
    assert after.claims == []
    assert [taken.essay_id for taken, _ in after.take_overs] == ["essay-00000"]
    assert counts(after) == (1, 1, 0)


def test_content_after_its_failure_is_excess_once_the_batch_is_complete() -> None:
    allocation = new_allocation(2)

    assert labels(allocation, content(1), failure(0), content(0)) == ["assigned", "slot_failed", "excess"]
    assert counts(allocation) == (0, 1, 1)
    assert allocation.batch.state is BatchState.COMPLETED


def test_repeats_alone_change_nothing() -> None:
    before, after = new_allocation(3), new_allocation(3)
    apply(before, content(0))
    after.batch = before.batch
    after.add_holder(before.claims[0])

    assert labels(after, content(0)) == ["already_assigned"]
    assert not after.changed
