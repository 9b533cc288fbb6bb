"""Bytes from Kafka to a typed envelope, or one ContractViolation whose message holds nothing of what was sent."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pydantic import JsonValue, ValidationError

from els_stream.contracts import topics
from els_stream.contracts.complaints import told
from els_stream.contracts.envelope import Envelope
from els_stream.contracts.inbound import (
    BatchEssaysRegistered,
    EssayContentProvisionedV1,
    EssayValidationFailedV1,
    StudentAssociationsConfirmedV1,
)
from els_stream.contracts.inspection import inspect, looks_suspect, of_legal_size
from els_stream.contracts.parts import Contract
from els_stream.contracts.reasons import DeadLetterReason
from els_stream.errors import ContractViolation

DataT = TypeVar("DataT", bound=Contract)

Registration = Envelope[BatchEssaysRegistered]
Content = Envelope[EssayContentProvisionedV1]
Failure = Envelope[EssayValidationFailedV1]
Associations = Envelope[StudentAssociationsConfirmedV1]
Inbound = Registration | Content | Failure | Associations


def read_registration(value: bytes | None) -> Registration:
    return _read(Registration, topics.BATCH_REGISTERED, value)


def read_content(value: bytes | None) -> Content:
    return _read(Content, topics.CONTENT_PROVISIONED, value)


def read_failure(value: bytes | None) -> Failure:
    return _read(Failure, topics.VALIDATION_FAILED, value)


def read_associations(value: bytes | None) -> Associations:
    return _read(Associations, topics.ASSOCIATIONS_CONFIRMED, value)


_READERS: Final[Mapping[str, Callable[[bytes | None], Inbound]]] = {
    topics.BATCH_REGISTERED: read_registration,
    topics.CONTENT_PROVISIONED: read_content,
    topics.VALIDATION_FAILED: read_failure,
    topics.ASSOCIATIONS_CONFIRMED: read_associations,
}


def read(topic: str, value: bytes | None) -> Inbound:
    """The event that lay on this input topic; a topic that is none of ours is a KeyError, since it is a bug."""
    return _READERS[topic](value)


def _read(model: type[Envelope[DataT]], topic: str, value: bytes | None) -> Envelope[DataT]:
    """One pass for what is good and plain; only what was refused, or looks suspect, pays for the exact inspection."""
    given = of_legal_size(value)
    try:
        envelope = model.model_validate_json(given)
    except ValidationError as error:
        raise _violation(inspect(given), error) from None
    if looks_suspect(given):
        inspect(given)
    if envelope.event_type != topic:
        raise ContractViolation(DeadLetterReason.CONTRACT_VIOLATION, f"event_type is not {topic}")
    return envelope


def _violation(tree: JsonValue, error: ValidationError) -> ContractViolation:
    """The version first: an envelope of another version may well differ in all the rest."""
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if type(version) is int and version != 1:
        return ContractViolation(DeadLetterReason.UNSUPPORTED_SCHEMA_VERSION, f"schema_version {version} is not 1")
    malformed = error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid"
    reason = DeadLetterReason.NOT_JSON if malformed else DeadLetterReason.CONTRACT_VIOLATION
    return ContractViolation(reason, told(error))
