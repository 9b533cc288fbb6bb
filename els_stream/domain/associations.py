"""Two students for one essay: a human's word beats a machine's, then the later one counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.events.fields import ValidationMethod

if TYPE_CHECKING:
    from datetime import datetime

    from els_stream.events.inbound import StudentAssociation


@dataclass(frozen=True, slots=True)
class CurrentAssociation:
    """How well founded an essay's present association is; both are None where it has none."""

    method: ValidationMethod | None = None
    validated_at: datetime | None = None


def current_association(association: StudentAssociation) -> CurrentAssociation:
    return CurrentAssociation(association.validation_method, association.validated_at)


def takes_precedence(association: StudentAssociation, present: CurrentAssociation) -> bool:
    """Whether the association takes the place of the present one; an equal one changes nothing."""
    if present.method is None or present.validated_at is None:
        return True
    by_human = association.validation_method is ValidationMethod.HUMAN
    if by_human is not (present.method is ValidationMethod.HUMAN):
        return by_human
    return association.validated_at > present.validated_at
