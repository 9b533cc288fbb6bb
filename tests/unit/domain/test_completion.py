from __future__ import annotations

from itertools import permutations

import pytest

from els_stream.domain.batch import BatchState, Payload
from tests.support import factories as make
from tests.support.batch_builders import admit, confirmation, content, failure, fresh_inventory, labels, told

CLASS = "class-9b"


def test_a_guest_batch_is_completed_by_its_last_content() -> None:
    inventory = fresh_inventory(2)

    admit(inventory, content(0), content(1))

    assert inventory.batch.state is BatchState.COMPLETED
    assert inventory.batch.content_completed_at == inventory.batch.completed_at == make.NOON
    assert told(inventory) == ["SlotWasAssigned", "SlotWasAssigned", "ContentBecameComplete"]


def test_one_free_slot_keeps_a_batch_open() -> None:
    inventory = fresh_inventory(3)

    admit(inventory, content(0), failure(1))

    assert inventory.batch.state is BatchState.OPEN
    assert inventory.batch.content_completed_at is None


def test_a_regular_batch_waits_for_its_associations() -> None:
    inventory = fresh_inventory(1, class_id=CLASS)

    admit(inventory, content(0))

    assert inventory.batch.state is BatchState.CONTENT_COMPLETE
    assert inventory.batch.completed_at is None
    assert told(inventory) == ["SlotWasAssigned", "ContentBecameComplete"]


@pytest.mark.parametrize("order", list(permutations([content(0), failure(1), confirmation(2)])))
def test_a_regular_batch_is_ready_once_in_whatever_order_content_failure_and_associations_come(
    order: tuple[Payload, ...],
) -> None:
    inventory = fresh_inventory(2, class_id=CLASS)

    admit(inventory, *order, *order)

    assert inventory.batch.state is BatchState.COMPLETED
    assert told(inventory) == ["SlotWasAssigned", "ContentBecameComplete", "BatchBecameReady"]


@pytest.mark.parametrize("order", list(permutations([failure(0), failure(1), confirmation(2)])))
def test_a_regular_batch_in_which_every_file_failed_is_completed_and_never_ready(order: tuple[Payload, ...]) -> None:
    inventory = fresh_inventory(2, class_id=CLASS)

    admit(inventory, *order)

    assert inventory.batch.state is BatchState.COMPLETED
    assert inventory.batch.completed_at == make.NOON
    assert told(inventory) == ["ContentBecameComplete"]


def test_associations_after_every_file_failed_still_confirm_the_batch() -> None:
    inventory = fresh_inventory(1, class_id=CLASS)

    assert labels(inventory, failure(0), confirmation(1)) == ["slot_failed", "associations_confirmed"]
    assert inventory.batch.associations_confirmed_at == make.NOON
    assert told(inventory) == ["ContentBecameComplete"]


def test_nothing_completes_a_batch_twice() -> None:
    inventory = fresh_inventory(1)

    admit(inventory, content(0), content(1), failure(2), content(0), failure(2))

    assert told(inventory).count("ContentBecameComplete") == 1
