from __future__ import annotations

from datetime import timedelta

import pytest

from els_stream.domain import outcomes
from els_stream.domain.allocation import Allocation
from els_stream.domain.associations import CurrentAssociation, takes_precedence
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.fields import ValidationMethod
from tests.support import factories as make
from tests.support.batch_builders import confirmation, counts, labels, new_allocation

CLASS = "class-9b"
PIPPI, EMIL = "student-pippi", "student-emil"
ESSAY = make.essay_ids(1)[0]
HUMAN, TIMEOUT, AUTO = ValidationMethod.HUMAN, ValidationMethod.TIMEOUT, ValidationMethod.AUTO


def says(student: str | None, method: ValidationMethod = HUMAN, minutes: int = 0) -> dict[str, object]:
    at = (make.NOON + timedelta(minutes=minutes)).isoformat()
    return make.association(ESSAY, student, validation_method=method, validated_at=at)


def refusal(allocation: Allocation, essays: int = 3, **fields: object) -> outcomes.Refused:
    outcome = allocation.apply(confirmation(essays, **fields))
    assert isinstance(outcome, outcomes.Refused)
    assert not allocation.changed
    return outcome


def test_the_first_associations_confirm_the_batch_and_later_ones_update_it() -> None:
    allocation = new_allocation(3, class_id=CLASS)

    assert labels(allocation, confirmation(3), confirmation(1)) == ["associations_confirmed", "associations_updated"]
    assert allocation.batch.associations_confirmed_at == make.NOON


@pytest.mark.parametrize("essays", [[], make.essay_ids(1), make.essay_ids(3)])
def test_associations_confirm_whichever_essays_they_list(essays: list[str]) -> None:
    allocation = new_allocation(3, class_id=CLASS)

    assert labels(allocation, confirmation(essays)) == ["associations_confirmed"]
    assert sorted(allocation.associations) == essays
    assert counts(allocation) == (3, 0, 0)


def test_associations_for_a_guest_batch_are_a_dead_letter() -> None:
    assert refusal(new_allocation(3)).reason is DeadLetterReason.GUEST_BATCH


def test_associations_of_another_class_are_a_dead_letter() -> None:
    allocation = new_allocation(3, class_id="class-7a")

    assert refusal(allocation).reason is DeadLetterReason.CLASS_MISMATCH


def test_one_unknown_essay_refuses_the_whole_event_and_is_named() -> None:
    refused = refusal(new_allocation(3, class_id=CLASS), essays=4)

    assert refused.reason is DeadLetterReason.UNKNOWN_ESSAY
    assert make.essay_ids(4)[3] in refused.message
    assert make.essay_ids(4)[0] not in refused.message


def test_of_two_associations_of_one_essay_the_one_with_precedence_remains() -> None:
    allocation = new_allocation(3, class_id=CLASS)

    allocation.apply(confirmation(3, associations=[says(PIPPI, HUMAN), says(EMIL, AUTO, minutes=5)]))

    assert allocation.associations[ESSAY].student_id == PIPPI


def test_an_association_without_precedence_confirms_and_writes_nothing() -> None:
    allocation = new_allocation(3, class_id=CLASS)
    allocation.current_associations[ESSAY] = CurrentAssociation(HUMAN, make.NOON)

    assert labels(allocation, confirmation(3, associations=[says(EMIL, AUTO, minutes=5)])) == ["associations_confirmed"]
    assert allocation.associations == {}


@pytest.mark.parametrize(
    ("newcomer", "minutes", "present", "wins"),
    [
        (HUMAN, 0, AUTO, True),
        (HUMAN, -60, AUTO, True),
        (HUMAN, -60, TIMEOUT, True),
        (AUTO, 60, HUMAN, False),
        (TIMEOUT, 60, HUMAN, False),
        (HUMAN, 1, HUMAN, True),
        (HUMAN, 0, HUMAN, False),
        (HUMAN, -1, HUMAN, False),
        (AUTO, 1, TIMEOUT, True),
        (TIMEOUT, 1, AUTO, True),
        (TIMEOUT, -1, AUTO, False),
        (AUTO, 0, TIMEOUT, False),
    ],
)
def test_a_human_beats_a_machine_and_then_the_later_one_counts(
    newcomer: ValidationMethod, minutes: int, present: ValidationMethod, *, wins: bool
) -> None:
    association = confirmation(associations=[says(EMIL, newcomer, minutes)]).event.associations[0]

    assert takes_precedence(association, CurrentAssociation(present, make.NOON)) is wins


def test_any_association_replaces_none() -> None:
    association = confirmation(associations=[says(None, AUTO)]).event.associations[0]

    assert takes_precedence(association, CurrentAssociation())
