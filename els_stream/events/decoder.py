"""Decode the bytes of an input record into a typed envelope, or raise a ContractViolation that quotes none of them.

Every contract has two decoders. msgspec's is several times as fast and decodes only values on which both surely agree;
pydantic's decodes everything else and is the only one that rejects a value. Tests hold their results equal.
"""

from typing import Final, Generic, TypeVar

import msgspec
from pydantic import JsonValue, TypeAdapter, ValidationError

from els_stream.events import topics
from els_stream.events.contract_fields import field_at
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.fields import Contract
from els_stream.events.inbound import (
    BatchEssaysRegistered,
    Envelope,
    EssayContentProvisionedV1,
    EssayValidationFailedV1,
    StudentAssociationsConfirmedV1,
)
from els_stream.events.json_checks import check_json, check_size, is_simple, needs_full_check
from els_stream.events.violation import ContractViolation
from els_stream.events.violation_messages import describe

DataT = TypeVar("DataT", bound=Contract)

Registration = Envelope[BatchEssaysRegistered]
Content = Envelope[EssayContentProvisionedV1]
Failure = Envelope[EssayValidationFailedV1]
Associations = Envelope[StudentAssociationsConfirmedV1]


class Decoder(Generic[DataT]):
    """The decoder for the values of one input topic."""

    def __init__(self, topic: str, contract: type[Envelope[DataT]]) -> None:
        self.topic = topic
        self._msgspec_decode: Final = msgspec.json.Decoder(contract).decode
        self._pydantic: Final = TypeAdapter(contract)

    def __call__(self, value: bytes | None) -> Envelope[DataT]:
        """Decode a record's value; raises ContractViolation if it is missing, too large or breaks the contract."""
        given = check_size(value)
        envelope = self.decode_fast(given) or self.decode_strict(given)
        if envelope.event_type != self.topic:
            raise ContractViolation(
                DeadLetterReason.CONTRACT_VIOLATION, f"event_type is not {self.topic}", "event_type"
            )
        return envelope

    def decode_fast(self, value: bytes) -> Envelope[DataT] | None:
        """Return an envelope equal to that of `decode_strict`, or None, also for values that are valid."""
        if not is_simple(value):
            return None
        try:
            value.decode()  # msgspec does not check strings of fields that it skips
            return self._msgspec_decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def decode_strict(self, value: bytes) -> Envelope[DataT]:
        """Decode by pydantic's rules; raises ContractViolation.

        The full check of the JSON is slow, so it runs only for a value that is rejected or that the prefilter reports.
        """
        try:
            envelope = self._pydantic.validate_json(value)
        except ValidationError as error:
            raise _violation(self.topic, check_json(value), error) from None
        if needs_full_check(value):
            check_json(value)
        return envelope


decode_registration: Final = Decoder(topics.BATCH_REGISTERED, Registration)
decode_content: Final = Decoder(topics.CONTENT_PROVISIONED, Content)
decode_failure: Final = Decoder(topics.VALIDATION_FAILED, Failure)
decode_associations: Final = Decoder(topics.ASSOCIATIONS_CONFIRMED, Associations)


def _violation(topic: str, tree: JsonValue, error: ValidationError) -> ContractViolation:
    """Check the version first: an envelope of another version may differ in every other field."""
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if type(version) is int and version != 1:
        return ContractViolation(DeadLetterReason.UNSUPPORTED_SCHEMA_VERSION, f"schema_version {version} is not 1")
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ContractViolation(DeadLetterReason.NOT_JSON, describe(error))
    return ContractViolation(DeadLetterReason.CONTRACT_VIOLATION, describe(error), field_at(topic, first["loc"]))
