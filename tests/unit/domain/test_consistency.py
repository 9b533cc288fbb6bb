"""The rules for inconsistent batches, and for recounts of their counters from their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from els_stream.domain.batch import BatchState
from els_stream.domain.consistency import BatchConsistency, SlotCounts

OPEN = BatchConsistency("b", BatchState.OPEN, 3, SlotCounts(1, 1, 1), SlotCounts(1, 1, 1), 0, 0)
ONE_MORE_FILLED = SlotCounts(0, 2, 1)


def test_equal_counts_and_nothing_pending_are_consistent() -> None:
    assert not OPEN.inconsistent
    assert not OPEN.miscounted


@pytest.mark.parametrize("state", [BatchState.OPEN, BatchState.CONTENT_COMPLETE])
def test_an_active_batch_with_other_counters_than_rows_is_miscounted(state: BatchState) -> None:
    found = replace(OPEN, state=state, rows=ONE_MORE_FILLED)

    assert found.miscounted
    assert found.inconsistent


@pytest.mark.parametrize("state", [BatchState.COMPLETED, BatchState.PURGED])
def test_the_slots_of_an_ended_batch_are_not_counted(state: BatchState) -> None:
    assert not replace(OPEN, state=state, rows=SlotCounts(0, 0, 0)).inconsistent


@pytest.mark.parametrize("state", [BatchState.OPEN, BatchState.COMPLETED, BatchState.PURGED])
def test_a_registered_batch_with_a_pending_event_is_inconsistent(state: BatchState) -> None:
    assert replace(OPEN, state=state, pending=1).inconsistent


@pytest.mark.parametrize(("counter", "rows", "inconsistent"), [(2, 2, False), (2, 1, True), (1, 2, True), (0, 0, True)])
def test_an_unregistered_batch_needs_pending_events_and_a_true_counter(
    counter: int, rows: int, *, inconsistent: bool
) -> None:
    found = replace(OPEN, state=BatchState.UNREGISTERED, pending_counter=counter, pending=rows)

    assert found.inconsistent is inconsistent


@pytest.mark.parametrize(
    ("state", "rows", "recountable"),
    [
        (BatchState.OPEN, SlotCounts(2, 1, 0), True),
        (BatchState.OPEN, SlotCounts(0, 3, 0), True),
        (BatchState.OPEN, SlotCounts(1, 1, 0), False),  # a row is missing
        (BatchState.CONTENT_COMPLETE, SlotCounts(0, 1, 2), True),
        (BatchState.CONTENT_COMPLETE, SlotCounts(1, 2, 0), False),  # the completion is published already
    ],
)
def test_rows_of_a_whole_batch_can_be_recounted_unless_an_event_becomes_untrue(
    state: BatchState, rows: SlotCounts, *, recountable: bool
) -> None:
    assert replace(OPEN, state=state, rows=rows).recountable is recountable
