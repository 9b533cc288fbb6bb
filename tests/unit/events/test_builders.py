"""Output events: equal to their models, ordered, truncated, and never too large for a record."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from els_stream.events import builders
from els_stream.events.builders import FailedSlot
from els_stream.events.event_ids import event_id, slot_subject
from els_stream.events.fields import ERROR_DETAIL, CourseCode, ErrorDetail, JsonObject, format_time
from els_stream.events.outbound import (
    BatchContentProvisioningCompletedV1,
    EssayProcessingInputRefV1,
    EssaySlotAssignedV1,
    OutboundEnvelope,
)
from els_stream.events.outbound_event import MAX_RECORD_BYTES, EventContext, OutboundEvent
from els_stream.events.topics import SLOT_ASSIGNED
from els_stream.events.trace_context import traceparent_of
from els_stream.events.truncation import truncate_error_detail, truncate_object, truncate_text
from tests.support import factories as make

CONTEXT = EventContext(batch_id=make.BATCH, correlation_id=UUID(make.stable_id("correlation")), now=make.NOON)
MANY = 10_000

# All that a text column may hold: no NUL, no surrogates.
NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=255)
TRACES = st.none() | st.just("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-9, minutes=-30))])
EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
TIMES = st.builds(
    lambda micros, zone: (EPOCH + timedelta(microseconds=micros)).astimezone(zone),
    st.integers(0, 32_000_000_000_000_000),
    ZONES,
)


def data_of(event: OutboundEvent) -> dict[str, JsonValue]:
    data: dict[str, JsonValue] = json.loads(event.value or b"")["data"]
    return data


def detail(**fields: JsonValue) -> ErrorDetail:
    return ERROR_DETAIL.validate_json(json.dumps(make.error_detail(**fields)))


def failed_slot(essay_id: str = "essay-1", **fields: JsonValue) -> FailedSlot:
    return FailedSlot(
        essay_id=essay_id,
        file_name=make.file_name(3),
        error_code="EMPTY_CONTENT",
        error_detail=detail(**fields),
        failed_at=make.NOON,
    )


@given(
    st.builds(EventContext, batch_id=NAMES, correlation_id=st.uuids(), now=TIMES, traceparent=TRACES),
    NAMES,
    NAMES,
    NAMES,
    NAMES,
)
def test_slot_assigned_without_the_model_equals_its_json(
    context: EventContext, essay_id: str, upload_id: str, text_id: str, name: str
) -> None:
    event = builders.slot_assigned(
        context, essay_id=essay_id, file_upload_id=upload_id, text_storage_id=text_id, original_file_name=name
    )
    data = EssaySlotAssignedV1(
        batch_id=context.batch_id,
        essay_id=essay_id,
        file_upload_id=upload_id,
        text_storage_id=text_id,
        original_file_name=name,
        correlation_id=context.correlation_id,
        timestamp=context.now,
    )
    whole = OutboundEnvelope[EssaySlotAssignedV1](
        event_id=event_id(SLOT_ASSIGNED, context.batch_id, slot_subject(essay_id, text_id)),
        event_type=SLOT_ASSIGNED,
        event_timestamp=context.now,
        correlation_id=context.correlation_id,
        data=data,
        metadata=None if context.traceparent is None else {"traceparent": context.traceparent},
    )

    assert event.value == whole.model_dump_json().encode()


@given(st.lists(st.tuples(NAMES, NAMES), max_size=4), NAMES)
def test_lists_of_essays_without_models_equal_their_json(essays: list[tuple[str, str]], user_id: str) -> None:
    event = builders.provisioning_completed(
        CONTEXT, essays=essays, expected_count=9, course_code="ENG5", user_id=user_id
    )
    data = BatchContentProvisioningCompletedV1(
        batch_id=CONTEXT.batch_id,
        provisioned_count=len(essays),
        expected_count=9,
        course_code=CourseCode.ENG5,
        user_id=user_id,
        essays_for_processing=tuple(
            EssayProcessingInputRefV1(essay_id=essay, text_storage_id=text) for essay, text in sorted(essays)
        ),
        correlation_id=CONTEXT.correlation_id,
        timestamp=CONTEXT.now,
    )

    assert f'"data":{data.model_dump_json()},'.encode() in (event.value or b"")


@given(TIMES)
def test_times_are_written_in_utc_with_six_digits(moment: datetime) -> None:
    assert format_time(moment) == moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("code", CourseCode)
def test_the_language_follows_the_course(code: CourseCode) -> None:
    event = builders.essays_ready(CONTEXT, essays=[], course_code=code, student_prompt_ref=None)

    assert data_of(event)["course_language"] == {"E": "en", "S": "sv"}[code[0]]
    assert data_of(event)["student_prompt_ref"] is None


@given(st.permutations(["b", "a", "Z", "å", "\U0001f600", "\uffff"]))
def test_essays_are_ordered_by_id(ids: list[str]) -> None:
    pairs = [(essay, f"text of {essay}") for essay in ids]
    timeout = builders.readiness_timeout(
        CONTEXT, essays=pairs, missing_essay_ids=ids, expected_count=12, timeout_duration_seconds=1
    )
    errors = builders.validation_errors(CONTEXT, [failed_slot(essay) for essay in ids], provisioned_count=0)
    in_order = ["Z", "a", "b", "å", "\uffff", "\U0001f600"]

    assert _essay_ids(data_of(timeout)["ready_essays"]) == in_order
    assert data_of(timeout)["missing_essay_ids"] == in_order
    assert _essay_ids(data_of(errors)["failed_essays"]) == in_order


@pytest.mark.parametrize("provisioned", [0, 1])
def test_errors_are_critical_if_no_slot_has_content(provisioned: int) -> None:
    slots = [failed_slot("b"), replace(failed_slot("a"), error_code="CONTENT_TOO_LONG"), failed_slot("c")]
    event = builders.validation_errors(CONTEXT, slots, provisioned_count=provisioned)

    assert data_of(event)["error_summary"] == {
        "total_errors": 3,
        "error_categories": {"CONTENT_TOO_LONG": 1, "EMPTY_CONTENT": 2},
        "critical_failure": provisioned == 0,
    }


def test_an_error_without_a_time_gets_the_time_of_its_failure() -> None:
    event = builders.validation_errors(CONTEXT, [failed_slot(timestamp=None)], provisioned_count=1)

    assert _list(data_of(event)["failed_essays"])[0]["error_detail"]["timestamp"] == make.NOON_TEXT


def test_free_text_is_truncated_in_output_events() -> None:
    slot = failed_slot(message="å" * 5000, details={"log": "x" * 9000}, stack_trace="y" * 9000, trace_id="z" * 2000)
    error = _list(data_of(builders.validation_errors(CONTEXT, [slot], provisioned_count=1))["failed_essays"])[0][
        "error_detail"
    ]

    assert error["message"] == "å" * 512
    assert error["trace_id"] == "z" * 1024
    assert len(json.dumps(error["details"], separators=(",", ":"))) + len(error["stack_trace"]) == 4096


def test_a_stack_trace_gets_the_bytes_that_details_leave() -> None:
    truncated = truncate_error_detail(detail(details={"a": 1}, stack_trace="y" * 9000))

    assert truncated.details == {"a": 1}
    assert truncated.stack_trace == "y" * (4096 - len('{"a":1}'))


@given(st.text(max_size=40), st.integers(0, 60))
def test_a_truncated_text_is_the_longest_start_that_fits(text: str, limit: int) -> None:
    truncated = truncate_text(text, limit)

    assert text.startswith(truncated)
    assert len(truncated.encode()) <= limit
    assert truncated == text or len(text[: len(truncated) + 1].encode()) > limit


@given(
    st.dictionaries(
        st.text(max_size=8), st.none() | st.integers() | st.text(max_size=40) | st.lists(st.text()), max_size=6
    ),
    st.integers(2, 80),
)
def test_a_truncated_object_fits_and_adds_nothing(given_object: JsonObject, limit: int) -> None:
    truncated = truncate_object(given_object, limit)

    assert len(json.dumps(truncated, ensure_ascii=False, separators=(",", ":")).encode()) <= limit
    for name, kept in truncated.items():
        whole = given_object[name]
        assert whole == kept or (isinstance(whole, str) and isinstance(kept, str) and whole.startswith(kept))


@given(st.text(max_size=3000), st.dictionaries(st.text(max_size=8), st.text(max_size=3000), max_size=4))
def test_truncating_twice_equals_truncating_once(text: str, details: dict[str, JsonValue]) -> None:
    once = truncate_error_detail(detail(message=text, details=details, stack_trace=text))

    assert truncate_error_detail(once) == once


def _ten_thousand_references() -> OutboundEvent:
    essays = [(f"{number:0100}", "🎉" * 250 + f"{number:05}") for number in range(MANY)]
    return builders.essays_ready(CONTEXT, essays=essays, course_code="SV1", student_prompt_ref=None)


def _ten_thousand_failures() -> OutboundEvent:
    names = dict.fromkeys(["error_code", "service", "operation"], "\x01" * 255)
    texts = dict.fromkeys(["message", "stack_trace", "trace_id", "span_id"], "\x02" * 9000)
    one = replace(failed_slot(details={"log": "\x03" * 9000}, **names, **texts), file_name="\x04" * 255)
    slots = [replace(one, essay_id=f"{number:0100}") for number in range(MANY)]
    return builders.validation_errors(CONTEXT, slots, provisioned_count=0)


@pytest.mark.parametrize("build", [_ten_thousand_references, _ten_thousand_failures])
def test_a_batch_of_ten_thousand_fits_into_a_record(build: Callable[[], OutboundEvent]) -> None:
    event = build()

    assert event.size <= MAX_RECORD_BYTES
    assert (event.value or b"").count(b'"essay_id"') == MANY


@pytest.mark.parametrize(
    ("headers", "metadata", "expected"),
    [
        ((), None, None),
        ((), {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}, "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
        ((), {"traceparent": 7}, None),
        ((), {"traceparent": 'x","y":"'}, None),
        ((("traceparent", b"\xff"),), None, None),
        (
            (("traceparent", b"00-" + b"c" * 32 + b"-" + b"d" * 16 + b"-00"),),
            {"traceparent": "x"},
            "00-" + "c" * 32 + "-" + "d" * 16 + "-00",
        ),
    ],
)
def test_a_traceparent_is_from_the_header_or_the_envelope(
    headers: tuple[tuple[str, bytes], ...], metadata: dict[str, JsonValue] | None, expected: str | None
) -> None:
    assert traceparent_of(headers, metadata) == expected


def _list(node: JsonValue) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = json.loads(json.dumps(node))
    return found


def _essay_ids(node: JsonValue) -> list[object]:
    return [essay["essay_id"] for essay in _list(node)]
