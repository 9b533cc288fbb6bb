"""Events equal the golden files byte for byte; these were written by hand from the contract."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest
from pydantic import TypeAdapter

from els_stream.config.setting_types import CHECKOUT
from els_stream.events import builders, decoder, outbound, topics
from els_stream.events.builders import FailedSlot
from els_stream.events.dead_letter import dead_letter
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.inbound import BatchEssaysRegistered, EssayValidationFailedV1
from els_stream.events.outbound_event import EventContext, OutboundEvent
from els_stream.events.records import RawRecord
from tests.support.decoders import decode

WRITERS: Final[Mapping[str, TypeAdapter[Any]]] = {
    topics.BATCH_REGISTERED: TypeAdapter(decoder.Registration),
    topics.CONTENT_PROVISIONED: TypeAdapter(decoder.Content),
    topics.VALIDATION_FAILED: TypeAdapter(decoder.Failure),
    topics.ASSOCIATIONS_CONFIRMED: TypeAdapter(decoder.Associations),
}
GOLDEN: Final = CHECKOUT / "els_stream" / "events" / "examples"
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONTEXT: Final = EventContext(
    batch_id="0b7f2f3e-6f0e-4c1e-9c39-1a2b3c4d5e6f",
    correlation_id=UUID("7d9f0c0a-1b2c-4d3e-8f40-51627384a5b6"),
    now=datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
)
ESSAYS: Final = [("essay-003", "text-009"), ("essay-001", "text-001")]


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().removesuffix(b"\n")


def golden_registration() -> BatchEssaysRegistered:
    return decoder.decode_registration(golden("batch_essays_registered")).data


def golden_failure() -> EssayValidationFailedV1:
    return decoder.decode_failure(golden("essay_validation_failed")).data


def failed_slot() -> FailedSlot:
    failure = golden_failure()
    assert failure.timestamp is not None
    return FailedSlot(
        essay_id="essay-002",
        file_name=failure.original_file_name,
        error_code=failure.validation_error_code,
        error_detail=failure.validation_error_detail,
        failed_at=failure.timestamp,
    )


def slot_assigned() -> OutboundEvent:
    return builders.slot_assigned(
        EventContext(
            batch_id=CONTEXT.batch_id, correlation_id=CONTEXT.correlation_id, now=CONTEXT.now, traceparent=TRACE
        ),
        essay_id="essay-001",
        file_upload_id="upload-001",
        text_storage_id="text-001",
        original_file_name='Varför surströmming är ett "vapen".docx',
    )


def excess_content() -> OutboundEvent:
    return builders.excess_content(CONTEXT, text_storage_id="text-004", original_file_name="One Essay Too Many.docx")


def provisioning_completed() -> OutboundEvent:
    return builders.provisioning_completed(
        CONTEXT, essays=ESSAYS, expected_count=3, course_code="SV2", user_id="ms-frizzle"
    )


def essays_ready() -> OutboundEvent:
    prompt = golden_registration().student_prompt_ref
    return builders.essays_ready(CONTEXT, essays=ESSAYS, course_code="SV2", student_prompt_ref=prompt)


def validation_errors() -> OutboundEvent:
    return builders.validation_errors(CONTEXT, [failed_slot()], provisioned_count=2)


def readiness_timeout() -> OutboundEvent:
    return builders.readiness_timeout(
        CONTEXT, essays=ESSAYS, missing_essay_ids=["essay-002"], expected_count=3, timeout_duration_seconds=259_200
    )


OUTPUT: Final[dict[str, tuple[Callable[[], OutboundEvent], type[outbound.OutboundModel]]]] = {
    "essay_slot_assigned": (slot_assigned, outbound.OutboundEnvelope[outbound.EssaySlotAssignedV1]),
    "excess_content_provisioned": (excess_content, outbound.OutboundEnvelope[outbound.ExcessContentProvisionedV1]),
    "batch_content_provisioning_completed": (
        provisioning_completed,
        outbound.OutboundEnvelope[outbound.BatchContentProvisioningCompletedV1],
    ),
    "batch_essays_ready": (essays_ready, outbound.OutboundEnvelope[outbound.BatchEssaysReady]),
    "batch_validation_errors": (validation_errors, outbound.OutboundEnvelope[outbound.BatchValidationErrorsV1]),
    "batch_readiness_timeout": (readiness_timeout, outbound.OutboundEnvelope[outbound.BatchReadinessTimeout]),
}
INPUT: Final = {
    "batch_essays_registered": topics.BATCH_REGISTERED,
    "essay_content_provisioned": topics.CONTENT_PROVISIONED,
    "essay_validation_failed": topics.VALIDATION_FAILED,
    "student_associations_confirmed": topics.ASSOCIATIONS_CONFIRMED,
}


@pytest.mark.parametrize("name", INPUT)
def test_an_input_event_is_decoded_and_encoded_to_the_same_bytes(name: str) -> None:
    envelope = decode(INPUT[name], golden(name))

    assert WRITERS[INPUT[name]].dump_json(envelope) == golden(name)


@pytest.mark.parametrize("name", OUTPUT)
def test_a_builder_returns_the_golden_bytes(name: str) -> None:
    build, _ = OUTPUT[name]

    assert build().value == golden(name)


@pytest.mark.parametrize("name", OUTPUT)
def test_a_model_of_an_output_event_keeps_the_golden_bytes(name: str) -> None:
    _, model = OUTPUT[name]

    assert model.model_validate_json(golden(name)).model_dump_json().encode() == golden(name)


@pytest.mark.parametrize("name", OUTPUT)
def test_an_output_event_with_a_field_beyond_the_contract_is_rejected(name: str) -> None:
    _, model = OUTPUT[name]

    for place in _objects(json.loads(golden(name)), free={"details", "error_info", "error_categories", "references"}):
        whole = json.loads(golden(name))
        node = whole
        for step in place:
            node = node[step]
        node["one_more"] = None
        # `metadata` of the envelope is a map of strings, so a null in it is rejected for its type.
        with pytest.raises(ValueError, match="one_more"):
            model.model_validate_json(json.dumps(whole))


@pytest.mark.parametrize("name", OUTPUT)
def test_headers_repeat_the_envelope(name: str) -> None:
    build, _ = OUTPUT[name]
    event = build()
    envelope = json.loads(golden(name))
    headers = {header: content.decode() for header, content in event.headers}

    assert len(headers) == len(event.headers)
    assert headers.pop("traceparent", None) == (envelope["metadata"] or {}).get("traceparent")
    assert headers == {
        "event_id": envelope["event_id"],
        "event_type": event.topic,
        "correlation_id": envelope["correlation_id"],
        "ce_id": envelope["event_id"],
        "ce_type": event.topic,
        "ce_source": "essay-lifecycle-service",
        "ce_subject": CONTEXT.batch_id,
        "ce_time": "2026-01-31T12:00:00.000000Z",
        "ce_specversion": "1.0",
        "content-type": "application/json",
    }
    assert event.key == CONTEXT.batch_id.encode()
    assert event.event_id == UUID(envelope["event_id"])
    assert event.topic == envelope["event_type"]


def test_a_dead_letter_is_the_original_with_its_place_and_reason() -> None:
    content = topics.CONTENT_PROVISIONED
    headers = (("traceparent", TRACE.encode()), ("ce_id", b"the-senders-own"))
    record = RawRecord(content, 3, 1729, 1769860800000, b"class 9b", b"Dear Sir or Madam,", headers)
    event = dead_letter(record, DeadLetterReason.NOT_JSON, "not JSON at character 0")
    described = {
        "key": (event.key or b"").decode(),
        "value": (event.value or b"").decode(),
        "headers": [[name, content.decode()] for name, content in event.headers],
    }

    assert json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode() == golden("dead_letter")


def test_every_event_of_the_contract_has_a_golden_file() -> None:
    names = {path.stem for path in GOLDEN.glob("*.json")}

    assert names == {*OUTPUT, *INPUT, "dead_letter"}
    assert {build().topic for build, _ in OUTPUT.values()} == set(topics.OUTPUT_TOPICS)
    assert set(INPUT.values()) == set(topics.INPUT_TOPICS)


def _objects(node: object, free: set[str], place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of the objects with a fixed set of fields."""
    if isinstance(node, dict):
        inside = [_objects(below, free, (*place, name)) for name, below in node.items() if name not in free]
        return [place, *(found for some in inside for found in some)]
    if isinstance(node, list):
        inside = [_objects(below, free, (*place, number)) for number, below in enumerate(node)]
        return [found for some in inside for found in some]
    return []
