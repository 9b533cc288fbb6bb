"""The rules for events that come before, or after, the life of their batch."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from els_stream.domain.allocation import Allocation
from els_stream.domain.batch import BatchEvent, BatchState
from els_stream.domain.outcomes import Refused
from els_stream.domain.pending import PendingKey, PendingKind
from els_stream.events.dead_letter_reasons import DeadLetterReason
from tests.support import factories as make
from tests.support.batch_builders import apply, confirmation, content, failure, labels, open_batch, unregistered_batch


def unregistered(max_pending: int = 10) -> Allocation:
    return Allocation(unregistered_batch(), make.NOON, max_pending)


def test_events_of_an_unregistered_batch_are_pending_in_order() -> None:
    allocation = unregistered()

    assert labels(allocation, content(0), failure(1), confirmation(2)) == ["pending"] * 3
    assert allocation.pending == [content(0), failure(1), confirmation(2)]
    assert allocation.batch.pending == 3
    assert allocation.changed


def test_a_pending_event_is_known_by_its_kind_and_its_upload_or_event_id() -> None:
    once = confirmation(2)
    again, other = replace(once), replace(once, event_id=UUID(int=7))

    events: list[BatchEvent] = [content(0), failure(0), failure(0), once, again, other]

    assert labels(unregistered(), *events) == [
        "pending",
        "pending",
        "already_pending",
        "pending",
        "already_pending",
        "pending",
    ]


def test_a_repeat_of_a_stored_pending_event_changes_nothing() -> None:
    allocation = unregistered()
    allocation.pending_texts[PendingKey(PendingKind.CONTENT, content(0).event.file_upload_id)] = content(0).text_id

    assert labels(allocation, content(0)) == ["already_pending"]
    assert not allocation.changed


def test_a_pending_upload_cannot_bring_another_text() -> None:
    allocation = unregistered()

    _, second = apply(allocation, content(0), content(0, text_storage_id="the-same-but-longer"))

    assert isinstance(second, Refused)
    assert second.reason is DeadLetterReason.UPLOAD_ALREADY_PROVISIONED
    assert allocation.batch.pending == 1


def test_the_same_text_of_another_upload_is_pending_too() -> None:
    """It stands in for the first upload, should that be refused at the registration."""
    text = "the-ethics-of-eating-the-last-cinnamon-bun"

    assert labels(unregistered(), content(0, text_storage_id=text), content(1, text_storage_id=text)) == [
        "pending",
        "pending",
    ]


def test_more_pending_events_than_the_limit_are_refused_and_repeats_are_not() -> None:
    allocation = unregistered(max_pending=2)
    allocation.batch.pending = 1  # stored before

    first, second, repeat = apply(allocation, content(0), content(1), content(0))

    assert isinstance(second, Refused)
    assert second.reason is DeadLetterReason.TOO_MANY_PARKED
    assert (first.label, repeat.label) == ("pending", "already_pending")
    assert allocation.batch.pending == 2


@pytest.mark.parametrize("event", [content(), failure(), confirmation()])
def test_every_event_of_a_purged_batch_is_refused(event: BatchEvent) -> None:
    allocation = Allocation(open_batch(), make.NOON)
    allocation.batch.state = BatchState.PURGED

    (outcome,) = apply(allocation, event)

    assert isinstance(outcome, Refused)
    assert outcome.reason is DeadLetterReason.BATCH_PURGED
    assert not allocation.changed
