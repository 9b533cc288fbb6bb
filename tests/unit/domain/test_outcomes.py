from __future__ import annotations

from typing import get_args

from els_stream.domain import outcomes
from els_stream.events.dead_letter_reasons import DeadLetterReason


def test_every_outcome_has_a_label_of_its_own() -> None:
    assert len(outcomes.OUTCOME_LABELS) == len(get_args(outcomes.Outcome)) - 1 + len(outcomes.PlainOutcome)


def test_outcomes_are_frozen_so_that_a_counted_one_cannot_change() -> None:
    refused = outcomes.Refused(DeadLetterReason.GUEST_BATCH, "no class, no students")

    assert refused == outcomes.Refused(DeadLetterReason.GUEST_BATCH, "no class, no students")
    assert hash(refused) == hash(outcomes.Refused(DeadLetterReason.GUEST_BATCH, "no class, no students"))
