"""Named cases of invalid records. Each must become a dead letter, and valid records around it must not be affected."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.json_checks import MAX_VALUE_BYTES
from tests.support import factories as make

BATCH: Final = "batch-of-horrors"


@dataclass(frozen=True, slots=True)
class InvalidRecordCase:
    name: str
    topic: str
    value: bytes | None
    key: bytes | None
    reason: DeadLetterReason


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the four input events: valid `data`, and the name of a string field in it."""

    topic: str
    data: make.Fields
    text_field: str

    @property
    def valid(self) -> bytes:
        return make.envelope(self.topic, self.data)

    def with_fields(self, **fields: object) -> bytes:
        return make.envelope(self.topic, self.data | fields)

    def with_raw(self, field: str, raw: bytes) -> bytes:
        """Return the event with a field whose JSON is `raw`, which no JSON library would write."""
        return self.with_fields(**{field: "@@@"}).replace(b'"@@@"', raw)

    def without(self, field: str) -> bytes:
        return make.envelope(self.topic, {name: value for name, value in self.data.items() if name != field})


REGISTRATION: Final = Kind(topics.BATCH_REGISTERED, make.registration_data(BATCH), "user_id")
CONTENT: Final = Kind(topics.CONTENT_PROVISIONED, make.content_data(BATCH), "original_file_name")
FAILURE: Final = Kind(topics.VALIDATION_FAILED, make.failure_data(BATCH), "original_file_name")
ASSOCIATIONS: Final = Kind(topics.ASSOCIATIONS_CONFIRMED, make.associations_data(BATCH), "class_id")
KINDS: Final = (REGISTRATION, CONTENT, FAILURE, ASSOCIATIONS)

R = DeadLetterReason
_NEST: Final = 10_000
_Cases = Iterator[tuple[str, bytes | None, DeadLetterReason]]


def _no_json(kind: Kind) -> _Cases:
    yield "null value", None, R.VALUE_MISSING
    yield "no bytes", b"", R.NOT_JSON
    yield "not JSON", b"Dear Sir or Madam,", R.NOT_JSON
    yield "half an event", kind.valid[: len(kind.valid) // 2], R.NOT_JSON
    yield "an event and a half", kind.valid + b"{", R.NOT_JSON
    yield "byte order mark", b"\xef\xbb\xbf" + kind.valid, R.NOT_JSON
    yield "UTF-16", kind.valid.decode().encode("utf-16"), R.NOT_JSON
    yield "Latin-1", kind.with_fields(**{kind.text_field: "åäö"}).decode().encode("latin-1"), R.NOT_JSON
    yield "raw NUL", kind.with_raw(kind.text_field, b'"a\x00b"'), R.NOT_JSON
    yield "NaN", kind.with_raw("one_more", b"NaN"), R.NOT_JSON
    yield "Infinity", kind.with_raw("one_more", b"[-Infinity]"), R.NOT_JSON


def _invalid_values(kind: Kind) -> _Cases:
    yield "NUL escaped", kind.with_raw(kind.text_field, rb'"a\u0000b"'), R.BAD_TEXT
    yield "NUL in a key", make.envelope(kind.topic, kind.data, metadata={"a\x00b": 1}), R.BAD_TEXT
    yield "lone surrogate escaped", kind.with_raw(kind.text_field, rb'"\ud800"'), R.BAD_TEXT
    yield "lone low surrogate", kind.with_raw(kind.text_field, rb'"\uDFFF"'), R.BAD_TEXT
    yield "lone surrogate raw", kind.with_raw(kind.text_field, b'"\xed\xa0\x80"'), R.BAD_TEXT
    yield "lone surrogate in metadata", _with_metadata(kind, rb'{"a":"\udc00"}'), R.BAD_TEXT
    yield "65 bits", kind.with_fields(one_more=2**64), R.NUMBER_OUT_OF_RANGE
    yield "65 bits with a sign", kind.with_fields(one_more=-(2**63) - 1), R.NUMBER_OUT_OF_RANGE
    yield "65 bits deep in metadata", _with_metadata(kind, b'{"a":[{"b":%d}]}' % 2**63), R.NUMBER_OUT_OF_RANGE
    yield "a number of many digits", kind.with_raw("one_more", b"1" * 100_000), R.NUMBER_OUT_OF_RANGE
    yield "beyond a double", _with_metadata(kind, b'{"a":-1.5e999}'), R.NUMBER_OUT_OF_RANGE
    yield "1 MiB and a byte", kind.valid.ljust(MAX_VALUE_BYTES + 1), R.VALUE_TOO_LARGE
    yield "10 MB", kind.valid.ljust(10_000_000), R.VALUE_TOO_LARGE
    yield "deep lists", kind.with_raw("one_more", b"[" * _NEST + b"]" * _NEST), R.TOO_DEEP
    yield "deep objects", _with_metadata(kind, b'{"a":' * _NEST + b"1" + b"}" * _NEST), R.TOO_DEEP
    yield "deep and never closed", b"[" * 1_000_000, R.TOO_DEEP


def _not_an_envelope(kind: Kind) -> _Cases:
    yield "a list", b"[" + kind.valid + b"]", R.CONTRACT_VIOLATION
    yield "a string", b'"hello"', R.CONTRACT_VIOLATION
    yield "JSON's null", b"null", R.CONTRACT_VIOLATION
    yield "an empty object", b"{}", R.CONTRACT_VIOLATION
    yield "data without its envelope", json.dumps(kind.data).encode(), R.CONTRACT_VIOLATION
    yield "data is a list", make.envelope(kind.topic, []), R.CONTRACT_VIOLATION
    yield "data is null", make.envelope(kind.topic, None), R.CONTRACT_VIOLATION
    yield "schema version 2", _enveloped(kind, schema_version=2), R.UNSUPPORTED_SCHEMA_VERSION
    yield "schema version 0", _enveloped(kind, schema_version=0), R.UNSUPPORTED_SCHEMA_VERSION
    yield "schema version true", _enveloped(kind, schema_version=True), R.CONTRACT_VIOLATION
    yield "schema version as text", _enveloped(kind, schema_version="1"), R.CONTRACT_VIOLATION
    yield "schema version 1.0", _enveloped(kind, schema_version=1.0), R.CONTRACT_VIOLATION
    yield "event type of another topic", _enveloped(kind, event_type="huleedu.lunch.menu.v1"), R.CONTRACT_VIOLATION
    yield "event type in capitals", _enveloped(kind, event_type=kind.topic.upper()), R.CONTRACT_VIOLATION
    yield "event id is no UUID", _enveloped(kind, event_id="seven"), R.CONTRACT_VIOLATION
    yield "event id is a number", _enveloped(kind, event_id=7), R.CONTRACT_VIOLATION
    yield "correlation id is null", _enveloped(kind, correlation_id=None), R.CONTRACT_VIOLATION
    yield "time is a number", _enveloped(kind, event_timestamp=1769860800), R.CONTRACT_VIOLATION
    yield "time is digits", _enveloped(kind, event_timestamp="1769860800"), R.CONTRACT_VIOLATION
    yield "time is a day", _enveloped(kind, event_timestamp="2026-01-31"), R.CONTRACT_VIOLATION
    yield "time before time", _enveloped(kind, event_timestamp="0001-01-01T00:00:00+10:00"), R.CONTRACT_VIOLATION
    yield "metadata is a list", _enveloped(kind, metadata=[]), R.CONTRACT_VIOLATION


def _wrong_fields(kind: Kind) -> _Cases:
    event = "event_name" if "event_name" in kind.data else "event"
    yield "event of another name", kind.with_fields(**{event: "essay.eaten.by.dog"}), R.CONTRACT_VIOLATION
    for field in (kind.text_field, "batch_id" if kind is ASSOCIATIONS else "entity_id"):
        yield f"{field} is missing", kind.without(field), R.CONTRACT_VIOLATION
        yield f"{field} is null", kind.with_fields(**{field: None}), R.CONTRACT_VIOLATION
        yield f"{field} is a number", kind.with_fields(**{field: 7}), R.CONTRACT_VIOLATION
        yield f"{field} is empty", kind.with_fields(**{field: ""}), R.CONTRACT_VIOLATION
        yield f"{field} has 256 characters", kind.with_fields(**{field: "å" * 256}), R.CONTRACT_VIOLATION


def _bad_registrations() -> _Cases:
    with_fields = REGISTRATION.with_fields
    ids = make.essay_ids(3, BATCH)
    for count in (0, -3, 2, 4, 10_001, 3.0, "3", True, None):
        yield f"expects {count!r} of three", with_fields(expected_essay_count=count), R.CONTRACT_VIOLATION
    yield "nothing expected, nothing given", with_fields(expected_essay_count=0, essay_ids=[]), R.CONTRACT_VIOLATION
    yield "expects more than 64 bits hold", with_fields(expected_essay_count=2**64), R.NUMBER_OUT_OF_RANGE
    yield "repeated ids", with_fields(essay_ids=[ids[0], ids[1], ids[0]]), R.CONTRACT_VIOLATION
    yield "one id too long", with_fields(essay_ids=[ids[0], ids[1], "x" * 256]), R.CONTRACT_VIOLATION
    yield "one id is a number", with_fields(essay_ids=[ids[0], ids[1], 3]), R.CONTRACT_VIOLATION
    yield "ids are one string", with_fields(essay_ids="abc"), R.CONTRACT_VIOLATION
    many = [str(number) for number in range(10_001)]
    yield "one essay too many", with_fields(essay_ids=many, expected_essay_count=10_001), R.CONTRACT_VIOLATION
    for code in ("ENG8", "eng5", "", None, 5):
        yield f"course {code!r}", with_fields(course_code=code), R.CONTRACT_VIOLATION
    yield "class is empty", with_fields(class_id=""), R.CONTRACT_VIOLATION
    yield "stage unknown", with_fields(metadata=make.metadata(processing_stage="napping")), R.CONTRACT_VIOLATION
    yield "metadata is null", with_fields(metadata=None), R.CONTRACT_VIOLATION
    yield "NUL in error_info", with_fields(metadata=make.metadata(error_info={"a": ["\x00"]})), R.BAD_TEXT
    prompt = {"references": {"student_prompt_text": {"storage_id": "prompt-1"}}}
    yield "prompt without path", with_fields(student_prompt_ref=prompt), R.CONTRACT_VIOLATION


def _bad_contents() -> _Cases:
    for size in (-1, 1.5, "4096", True, None):
        yield f"size {size!r}", CONTENT.with_fields(file_size_bytes=size), R.CONTRACT_VIOLATION
    yield "size of 65 bits", CONTENT.with_fields(file_size_bytes=2**63), R.NUMBER_OUT_OF_RANGE
    yield "size is NaN", CONTENT.with_raw("file_size_bytes", b"NaN"), R.NOT_JSON
    yield "correlation id in data is no UUID", CONTENT.with_fields(correlation_id="x"), R.CONTRACT_VIOLATION
    yield "NUL in the storage id", CONTENT.with_fields(text_storage_id="text\x00"), R.BAD_TEXT
    yield "storage id missing", CONTENT.without("text_storage_id"), R.CONTRACT_VIOLATION


def _bad_failures() -> _Cases:
    with_fields = FAILURE.with_fields
    yield "error code empty", with_fields(validation_error_code=""), R.CONTRACT_VIOLATION
    yield "detail missing", FAILURE.without("validation_error_detail"), R.CONTRACT_VIOLATION
    yield "detail is text", with_fields(validation_error_detail="oh no"), R.CONTRACT_VIOLATION
    detail = make.error_detail(details={"a": {"b": ["\x00"]}})
    yield "NUL in details", with_fields(validation_error_detail=detail), R.BAD_TEXT
    detail = make.error_detail(details={"a": 2**80})
    yield "65 bits in details", with_fields(validation_error_detail=detail), R.NUMBER_OUT_OF_RANGE
    yield "details are a list", with_fields(validation_error_detail=make.error_detail(details=[])), R.CONTRACT_VIOLATION


def _bad_associations() -> _Cases:
    for score in (-0.1, 1.1, "0.5", True, None):
        one = make.association("essay-1", confidence_score=score)
        yield f"confidence {score!r}", ASSOCIATIONS.with_fields(associations=[one]), R.CONTRACT_VIOLATION
    for name, value in (("validation_method", "telepathy"), ("validated_at", "noon"), ("essay_id", None)):
        one = make.association("essay-1") | {name: value}
        yield f"{name} is {value!r}", ASSOCIATIONS.with_fields(associations=[one]), R.CONTRACT_VIOLATION
    yield "timeout as a number", ASSOCIATIONS.with_fields(timeout_triggered=1), R.CONTRACT_VIOLATION
    yield "summary counts in words", ASSOCIATIONS.with_fields(validation_summary={"human": "3"}), R.CONTRACT_VIOLATION
    yield "associations are an object", ASSOCIATIONS.with_fields(associations={}), R.CONTRACT_VIOLATION


def _with_metadata(kind: Kind, raw: bytes) -> bytes:
    return make.envelope(kind.topic, kind.data, metadata="@@@").replace(b'"@@@"', raw)


def _enveloped(kind: Kind, **fields: object) -> bytes:
    return make.envelope(kind.topic, kind.data, **fields)


_CASES_BY_KIND: Final = (
    (REGISTRATION, _bad_registrations),
    (CONTENT, _bad_contents),
    (FAILURE, _bad_failures),
    (ASSOCIATIONS, _bad_associations),
)


def _cases() -> Iterator[InvalidRecordCase]:
    for kind, own in _CASES_BY_KIND:
        cases = [*_no_json(kind), *_invalid_values(kind), *_not_an_envelope(kind), *_wrong_fields(kind), *own()]
        for number, (name, value, reason) in enumerate(cases):
            # Keys must not matter: a third of the cases has none, a third has one that is not text.
            key = (BATCH.encode(), None, b"\xff\x00")[number % 3]
            yield InvalidRecordCase(f"{kind.topic.split('.')[-2]}: {name}", kind.topic, value, key, reason)


CASES: Final = tuple(_cases())
