"""Messages for values that break a contract: the field and the rule, never the value, which may be a student's text."""

import dataclasses
from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from els_stream.events import fields, inbound

_MAX_ERRORS: Final = 3

_CONTRACTS: Final = (
    inbound.Envelope,
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
# Names that a message may hold. Keys of maps and free objects are the sender's text, like values.
_FIELDS: Final = frozenset(field.name for contract in _CONTRACTS for field in dataclasses.fields(contract))

# Rules whose message by pydantic names only the rule. Messages of other rules quote the value, if only a character.
_SAFE_MESSAGES: Final = frozenset({
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


def describe(error: ValidationError) -> str:
    """Return one line with the first errors, and the number of the others."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    details = [detail for detail in errors if not _follows_from_an_element(detail, errors)]
    lines = [_line(detail) for detail in details[:_MAX_ERRORS]]
    if len(details) > _MAX_ERRORS:
        lines.append(f"and {len(details) - _MAX_ERRORS} more")
    return "; ".join(lines)


def _follows_from_an_element(detail: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Return whether a collection is only too short since validation ended at its first bad element."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
    )


def _line(detail: ErrorDetails) -> str:
    rule = detail["msg"] if detail["type"] in _SAFE_MESSAGES else detail["type"]
    place = ".".join(str(step) if isinstance(step, int) or step in _FIELDS else "(a key)" for step in detail["loc"])
    return f"{place}: {rule}" if place else rule
