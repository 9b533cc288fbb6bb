"""The rules of the input contract: unusual but valid values, invalid ones, and no third result."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.decoder import decode_associations, decode_content, decode_failure, decode_registration
from els_stream.events.json_checks import MAX_DEPTH, MAX_VALUE_BYTES, check_json, is_simple, needs_full_check
from els_stream.events.violation import ContractViolation
from tests.support import factories as make
from tests.support.decoders import decode
from tests.support.invalid_records import CASES, InvalidRecordCase

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
GOOD = (
    (topics.BATCH_REGISTERED, make.registration_data()),
    (topics.CONTENT_PROVISIONED, make.content_data()),
    (topics.VALIDATION_FAILED, make.failure_data()),
    (topics.ASSOCIATIONS_CONFIRMED, make.associations_data()),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_invalid_record_is_rejected_with_its_reason(case: InvalidRecordCase) -> None:
    with pytest.raises(ContractViolation) as rejected:
        decode(case.topic, case.value)

    assert rejected.value.reason == case.reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_violation_message_is_one_short_line(case: InvalidRecordCase) -> None:
    with pytest.raises(ContractViolation) as rejected:
        decode(case.topic, case.value)

    assert 0 < len(rejected.value.message) <= 500
    assert rejected.value.message.isprintable()


def test_a_wrong_element_is_named_and_not_the_length_of_the_list_that_it_ended() -> None:
    with pytest.raises(ContractViolation) as rejected:
        decode(topics.BATCH_REGISTERED, make.registration(essay_ids=[7, "essay-2"], expected_essay_count=2))

    assert "essay_ids.0" in rejected.value.message
    assert "at least" not in rejected.value.message


def test_names_of_the_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("secret", ["Ξένη Andersson", "anna_andersson"])
@pytest.mark.parametrize(
    ("topic", "data", "field"),
    [(topic, data, field) for topic, data in GOOD for field in data],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_violation_message_holds_nothing_of_the_value(
    topic: str, data: dict[str, object], field: str, secret: str
) -> None:
    # As a value, as a key of an object, and as a key of each map that the contract has.
    maps = {"references": {secret: secret}, secret: secret}
    for wrong in ([secret], secret * 100, {secret: secret}, maps, secret):
        try:
            decode(topic, make.envelope(topic, data | {field: wrong}))
        except ContractViolation as violation:
            message = violation.message
        else:
            continue
        assert secret not in message
        assert "Ξ" not in message


@settings(max_examples=150)
@given(
    topic=st.sampled_from(topics.INPUT_TOPICS),
    value=st.none() | st.binary() | JSON.map(lambda v: json.dumps(v).encode()),
)
@example(topic=topics.BATCH_REGISTERED, value=b'"' + b'\\"' * 10_000)
@example(topic=topics.BATCH_REGISTERED, value=b"[" * 100_000)
@example(topic=topics.BATCH_REGISTERED, value=b"-" + b"9" * 5000)
def test_any_other_value_is_rejected(topic: str, value: bytes | None) -> None:
    with pytest.raises(ContractViolation):
        decode(topic, value)


@settings(max_examples=150)
@given(kind=st.sampled_from(GOOD), data=st.data())
def test_an_event_with_any_value_in_a_field_is_decoded_or_rejected(
    kind: tuple[str, dict[str, object]], data: st.DataObject
) -> None:
    topic, good = kind
    field = data.draw(st.sampled_from([*sorted(good), "one_more"]))
    value = json.dumps(json.loads(make.envelope(topic, good)) | {"data": good | {field: data.draw(JSON)}}).encode()
    try:
        envelope = decode(topic, value)
    except ContractViolation:
        return
    assert envelope.event_type == topic


@settings(max_examples=200)
@given(JSON, st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_the_prefilters_miss_no_invalid_value(tree: object, separators: tuple[str, str]) -> None:
    value = json.dumps(tree, ensure_ascii=True, separators=separators).encode()
    try:
        check_json(value)
    except ContractViolation:
        assert needs_full_check(value)
        assert b"NaN" in value or b"Infinity" in value or not is_simple(value)


@pytest.mark.parametrize(
    "invalid",
    [
        b"1e309",
        b"-1.5E+999",
        b"123456789e400",
        b"9223372036854775808",
        b"-9223372036854775809",
        b'"\\u0000"',
        b"NaN",
        b'"\\ud800"',
        b'"\\uDfff"',
    ],
)
@pytest.mark.parametrize("before", [b"[", b"[0,", b'{"a":', b"[ ", b"[\n", b"[\t", b"[\r"])
@pytest.mark.parametrize("after", [b"]", b"}", b",0]", b" ]", b"\n]", b"\t]", b"\r]"])
def test_the_prefilter_finds_an_invalid_value_anywhere(before: bytes, invalid: bytes, after: bytes) -> None:
    assert needs_full_check(before + invalid + after)


def test_an_ordinary_event_passes_the_prefilter() -> None:
    assert [topic for topic, data in GOOD if needs_full_check(make.envelope(topic, data))] == []


def test_unknown_fields_are_ignored_everywhere() -> None:
    detail = make.error_detail(mood="blue")
    data = make.failure_data(validation_error_detail=detail, colour=["red", {"of": "tape"}])

    assert decode_failure(make.envelope(topics.VALIDATION_FAILED, data, shoe_size=44)).data.file_upload_id


@pytest.mark.parametrize("instead", ["null", "absent"])
def test_null_and_absent_are_equal_for_optional_fields(instead: str) -> None:
    def without(data: dict[str, object], *fields: str) -> dict[str, object]:
        kept = {name: value for name, value in data.items() if name not in fields}
        return kept if instead == "absent" else kept | dict.fromkeys(fields)

    system = without(make.metadata(), *make.metadata().keys() - {"entity_id", "entity_type"})
    detail = without(make.error_detail(), "timestamp", "stack_trace", "trace_id", "span_id")
    registration = make.registration_data(metadata=system)
    registration = without(registration, "event", "student_prompt_ref", "org_id", "class_id")
    content = without(make.content_data(), "event", "content_md5_hash", "timestamp")
    failure = without(make.failure_data(validation_error_detail=detail), "event", "timestamp")
    associations = without(
        make.associations_data(), "entity_id", "entity_type", "parent_id", "timeout_triggered", "timestamp"
    )

    assert decode_registration(make.envelope(topics.BATCH_REGISTERED, registration)).data.class_id is None
    assert decode_content(make.envelope(topics.CONTENT_PROVISIONED, content)).data.timestamp is None
    assert (
        decode_failure(make.envelope(topics.VALIDATION_FAILED, failure)).data.validation_error_detail.timestamp is None
    )
    assert decode_associations(make.envelope(topics.ASSOCIATIONS_CONFIRMED, associations)).data.entity_id is None


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00.5", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T14:30:00.123456789+02:30", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_times_end_in_utc(time: str, expected: datetime) -> None:
    envelope = decode_content(make.content(timestamp=time))

    assert envelope.data.timestamp == expected
    assert envelope.data.timestamp.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    "time", ["2026-W05-6", "20260131T120000Z", "2026-01-31T24:00:00Z", "2026-02-30T12:00:00Z", "٢٠٢٦"]
)
def test_times_not_in_the_format_of_rfc_3339_are_rejected(time: str) -> None:
    with pytest.raises(ContractViolation, match="timestamp"):
        decode_content(make.content(timestamp=time))


@pytest.mark.parametrize(
    "value",
    [
        make.content(original_file_name="å" * 255),
        make.content(original_file_name="En 🎉 fest.docx"),
        make.content(original_file_name="\\u0000 is how you write NUL.docx"),
        make.content(original_file_name="NaN and Infinity: a Love Story.docx"),
        make.content(file_size_bytes=2**63 - 1),
        make.content(one_more=-(2**63)),
        make.content(one_more="12345678901234567890123"),
        make.content().ljust(MAX_VALUE_BYTES),
    ],
)
def test_unusual_but_valid_values_are_decoded(value: bytes) -> None:
    assert decode_content(value).data.batch_id == make.BATCH


def test_an_escaped_surrogate_pair_is_one_character() -> None:
    value = make.content(original_file_name="@").replace(b'"@"', rb'"\ud83c\udf89"')

    assert decode_content(value).data.original_file_name == "🎉"


def test_nesting_is_valid_up_to_its_limit() -> None:
    depth = MAX_DEPTH - 2
    valid = make.content(one_more="@").replace(b'"@"', b"[" * depth + b"]" * depth)

    assert decode_content(valid).data.batch_id == make.BATCH
    with pytest.raises(ContractViolation, match="deeper"):
        decode_content(valid.replace(b"[]", b"[[]]"))


def test_many_flat_objects_are_not_deep() -> None:
    assert len(decode_associations(make.associations(essays=500)).data.associations) == 500


def test_the_last_of_repeated_keys_counts() -> None:
    value = make.content().replace(b'"data":{', b'"data":{"text_storage_id":"first",')

    assert decode_content(value).data.text_storage_id == make.content_data()["text_storage_id"]


def test_the_correlation_id_of_the_envelope_is_independent_of_that_in_data() -> None:
    inner = "11111111-1111-4111-8111-111111111111"
    envelope = decode_content(make.content(correlation_id=inner))

    assert envelope.correlation_id == UUID(make.stable_id("correlation"))
    assert envelope.data.correlation_id == UUID(inner)


def test_a_batch_may_have_ten_thousand_essays() -> None:
    ids = [f"e{number}" for number in range(10_000)]

    assert len(decode_registration(make.registration(essays=ids)).data.essay_ids) == 10_000


def test_another_schema_version_is_the_reason_whatever_else_is_wrong() -> None:
    with pytest.raises(ContractViolation) as rejected:
        decode_content(make.envelope(topics.CONTENT_PROVISIONED, "other", schema_version=2))

    assert rejected.value.reason is DeadLetterReason.UNSUPPORTED_SCHEMA_VERSION
