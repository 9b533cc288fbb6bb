"""Words for a refused shape: which field and which rule, never what was sent, since it may be a student's text."""

import dataclasses
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from els_stream.events import fields, inbound
from els_stream.events.envelope import Envelope

_TOLD_AT_MOST: Final = 3

_CONTRACTS: Final = (
    Envelope,
    inbound.BatchEssaysRegistered,
    inbound.EssayContentProvisionedV1,
    inbound.EssayValidationFailedV1,
    inbound.StudentAssociationsConfirmedV1,
    inbound.StudentAssociation,
    fields.SystemProcessingMetadata,
    fields.StorageReferenceMetadata,
    fields.StorageReference,
    fields.ErrorDetail,
)
# Names that may be told: a key of a free object or a map is the sender's text as much as a value is.
_FIELDS: Final = frozenset(field.name for contract in _CONTRACTS for field in dataclasses.fields(contract))

# Rules whose own message names only the rule. The others quote what they found, if only a character of it.
_PLAIN: Final = frozenset({
    "bool_type",
    "count_mismatch",
    "dataclass_type",
    "dict_type",
    "enum",
    "finite_number",
    "float_type",
    "greater_than_equal",
    "int_type",
    "less_than_equal",
    "literal_error",
    "missing",
    "repeated_id",
    "string_pattern_mismatch",
    "string_too_long",
    "string_too_short",
    "string_type",
    "time",
    "too_long",
    "too_short",
    "tuple_type",
    "uuid_type",
})  # fmt: skip


def told(error: ValidationError) -> str:
    """One line on the first few of what is wrong."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [_line(detail) for detail in details[:_TOLD_AT_MOST]]
    if len(details) > _TOLD_AT_MOST:
        lines.append(f"and {len(details) - _TOLD_AT_MOST} more")
    return "; ".join(lines)


def _line(detail: ErrorDetails) -> str:
    rule = detail["msg"] if detail["type"] in _PLAIN else detail["type"]
    place = ".".join(str(step) if isinstance(step, int) or step in _FIELDS else "(a key)" for step in detail["loc"])
    return f"{place}: {rule}" if place else rule
