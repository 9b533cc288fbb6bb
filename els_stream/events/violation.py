"""The error of a record that breaks its contract."""

from __future__ import annotations

from els_stream.errors import ElsError
from els_stream.events.dead_letter_reasons import DeadLetterReason


class ContractViolation(ElsError):
    """A record breaks its contract. A retry can't help: the record becomes a dead letter with this reason."""

    code = "contract_violation"

    def __init__(self, reason: DeadLetterReason, message: str, field: str | None = None) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
        self.field = field  # one of `contract_fields.FIELDS`; None if no single field is at fault

    def __str__(self) -> str:
        return self.message
