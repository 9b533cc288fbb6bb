"""Bytes from Kafka to a typed envelope, or one ContractViolation whose message holds nothing of what was sent.

Two readers of one contract: msgspec's is fast and takes what it is certain of; all else goes to pydantic's, which is
exact, and alone refuses.
"""

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.envelope import Envelope
from els_stream.events.fast_reading import FastDecoder
from els_stream.events.fields import Contract
from els_stream.events.inbound import (
    BatchEssaysRegistered,
    EssayContentProvisionedV1,
    EssayValidationFailedV1,
    StudentAssociationsConfirmedV1,
)
from els_stream.events.json_checks import inspect, of_legal_size
from els_stream.events.suspicion import looks_suspect
from els_stream.events.violation import ContractViolation
from els_stream.events.violation_messages import told

DataT = TypeVar("DataT", bound=Contract)

Registration = Envelope[BatchEssaysRegistered]
Content = Envelope[EssayContentProvisionedV1]
Failure = Envelope[EssayValidationFailedV1]
Associations = Envelope[StudentAssociationsConfirmedV1]
Inbound = Registration | Content | Failure | Associations


class Decoder(Generic[DataT]):
    """Reads the events of one topic."""

    def __init__(self, topic: str, contract: type[Envelope[DataT]]) -> None:
        self.topic = topic
        self.fast: Final = FastDecoder(contract)
        self._exact: Final = TypeAdapter(contract)

    def __call__(self, value: bytes | None) -> Envelope[DataT]:
        given = of_legal_size(value)
        envelope = self.fast.read(given) or self.exactly(given)
        if envelope.event_type != self.topic:
            raise ContractViolation(DeadLetterReason.CONTRACT_VIOLATION, f"event_type is not {self.topic}")
        return envelope

    def exactly(self, given: bytes) -> Envelope[DataT]:
        """Only what is refused, or looks suspect, pays for the inspection."""
        try:
            envelope = self._exact.validate_json(given)
        except ValidationError as error:
            raise _violation(inspect(given), error) from None
        if looks_suspect(given):
            inspect(given)
        return envelope


read_registration: Final = Decoder(topics.BATCH_REGISTERED, Registration)
read_content: Final = Decoder(topics.CONTENT_PROVISIONED, Content)
read_failure: Final = Decoder(topics.VALIDATION_FAILED, Failure)
read_associations: Final = Decoder(topics.ASSOCIATIONS_CONFIRMED, Associations)

AnyReader = (
    Decoder[BatchEssaysRegistered]
    | Decoder[EssayContentProvisionedV1]
    | Decoder[EssayValidationFailedV1]
    | Decoder[StudentAssociationsConfirmedV1]
)
READERS: Final[Mapping[str, AnyReader]] = {
    topics.BATCH_REGISTERED: read_registration,
    topics.CONTENT_PROVISIONED: read_content,
    topics.VALIDATION_FAILED: read_failure,
    topics.ASSOCIATIONS_CONFIRMED: read_associations,
}


def read(topic: str, value: bytes | None) -> Inbound:
    """The event that lay on this input topic; a topic that is none of ours is a KeyError, since it is a bug."""
    return READERS[topic](value)


def _violation(tree: JsonValue, error: ValidationError) -> ContractViolation:
    """The version first: an envelope of another version may well differ in all the rest."""
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if type(version) is int and version != 1:
        return ContractViolation(DeadLetterReason.UNSUPPORTED_SCHEMA_VERSION, f"schema_version {version} is not 1")
    malformed = error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid"
    reason = DeadLetterReason.NOT_JSON if malformed else DeadLetterReason.CONTRACT_VIOLATION
    return ContractViolation(reason, told(error))
