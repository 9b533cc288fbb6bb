"""Precedence of student associations: one made by a human beats one made by a machine, then the later one counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.events.fields import ValidationMethod

if TYPE_CHECKING:
    from datetime import datetime

    from els_stream.events.inbound import StudentAssociation


@dataclass(frozen=True, slots=True)
class CurrentAssociation:
    """The validation method and time of an essay's association; both are None if the essay has none."""

    method: ValidationMethod | None = None
    validated_at: datetime | None = None

    @classmethod
    def from_event(cls, association: StudentAssociation) -> CurrentAssociation:
        return cls(association.validation_method, association.validated_at)


def takes_precedence(association: StudentAssociation, current: CurrentAssociation) -> bool:
    """Return whether the association replaces the current one; an equal one changes nothing."""
    if current.method is None or current.validated_at is None:
        return True
    by_human = association.validation_method is ValidationMethod.HUMAN
    if by_human is not (current.method is ValidationMethod.HUMAN):
        return by_human
    return association.validated_at > current.validated_at
