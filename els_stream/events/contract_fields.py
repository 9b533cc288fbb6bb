"""The fields of the input contracts by topic: the closed set of places where a record breaks its contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_type_hints

from els_stream.events import inbound, topics

# The place of a violation that concerns no field: the value is no object, for example.
WHOLE_VALUE: Final = "(value)"
# An unknown value of this field is accepted.
VALIDATION_CODE_FIELD: Final = "data.validation_error_code"


def _paths(contract: type[Any]) -> Iterator[str]:
    """Yield the names of all fields, with those of objects in them behind a point."""
    hints = get_type_hints(contract)
    for field in dataclasses.fields(contract):
        yield field.name
        for inner in _contracts(hints[field.name]):
            yield from (f"{field.name}.{path}" for path in _paths(inner))


def _contracts(hint: Any) -> Iterator[type[Any]]:  # noqa: ANN401
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from _contracts(argument)


def _fields(data: type[Any]) -> frozenset[str]:
    return frozenset({WHOLE_VALUE, *_paths(inbound.Envelope), *(f"data.{path}" for path in _paths(data))})


FIELDS: Final[Mapping[str, frozenset[str]]] = {
    topics.BATCH_REGISTERED: _fields(inbound.BatchEssaysRegistered),
    topics.CONTENT_PROVISIONED: _fields(inbound.EssayContentProvisionedV1),
    topics.VALIDATION_FAILED: _fields(inbound.EssayValidationFailedV1),
    topics.ASSOCIATIONS_CONFIRMED: _fields(inbound.StudentAssociationsConfirmedV1),
}


def field_at(topic: str, steps: Sequence[int | str]) -> str:
    """Return the field at this place of a value, without positions in lists; it stops before a key of a map."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            continue
        longer = f"{path}.{step}" if path else step
        if longer not in FIELDS[topic]:
            break
        path = longer
    return path or WHOLE_VALUE
