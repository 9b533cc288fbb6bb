from __future__ import annotations

from itertools import permutations

import pytest

from els_stream.domain.batch import BatchEvent, BatchState
from tests.support import factories as make
from tests.support.batch_builders import apply, confirmation, content, facts, failure, labels, new_allocation

CLASS = "class-9b"


def test_a_guest_batch_is_completed_by_its_last_content() -> None:
    allocation = new_allocation(2)

    apply(allocation, content(0), content(1))

    assert allocation.batch.state is BatchState.COMPLETED
    assert allocation.batch.content_completed_at == allocation.batch.completed_at == make.NOON
    assert facts(allocation) == ["SlotWasAssigned", "SlotWasAssigned", "ContentBecameComplete"]


def test_one_free_slot_keeps_a_batch_open() -> None:
    allocation = new_allocation(3)

    apply(allocation, content(0), failure(1))

    assert allocation.batch.state is BatchState.OPEN
    assert allocation.batch.content_completed_at is None


def test_a_regular_batch_waits_for_its_associations() -> None:
    allocation = new_allocation(1, class_id=CLASS)

    apply(allocation, content(0))

    assert allocation.batch.state is BatchState.CONTENT_COMPLETE
    assert allocation.batch.completed_at is None
    assert facts(allocation) == ["SlotWasAssigned", "ContentBecameComplete"]


@pytest.mark.parametrize("order", list(permutations([content(0), failure(1), confirmation(2)])))
def test_a_regular_batch_is_ready_once_in_any_order_of_its_events(
    order: tuple[BatchEvent, ...],
) -> None:
    allocation = new_allocation(2, class_id=CLASS)

    apply(allocation, *order, *order)

    assert allocation.batch.state is BatchState.COMPLETED
    assert facts(allocation) == ["SlotWasAssigned", "ContentBecameComplete", "BatchBecameReady"]


@pytest.mark.parametrize("order", list(permutations([failure(0), failure(1), confirmation(2)])))
def test_a_regular_batch_in_which_every_file_failed_is_completed_and_never_ready(order: tuple[BatchEvent, ...]) -> None:
    allocation = new_allocation(2, class_id=CLASS)

    apply(allocation, *order)

    assert allocation.batch.state is BatchState.COMPLETED
    assert allocation.batch.completed_at == make.NOON
    assert facts(allocation) == ["ContentBecameComplete"]


def test_associations_after_every_file_failed_still_confirm_the_batch() -> None:
    allocation = new_allocation(1, class_id=CLASS)

    assert labels(allocation, failure(0), confirmation(1)) == ["slot_failed", "associations_confirmed"]
    assert allocation.batch.associations_confirmed_at == make.NOON
    assert facts(allocation) == ["ContentBecameComplete"]


def test_nothing_completes_a_batch_twice() -> None:
    allocation = new_allocation(1)

    apply(allocation, content(0), content(1), failure(2), content(0), failure(2))

    assert facts(allocation).count("ContentBecameComplete") == 1
