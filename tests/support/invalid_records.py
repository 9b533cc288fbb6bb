"""Everything that bad input can be, as named cases: feed them between good events, and each becomes a dead letter."""

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
    """One of the four events, good, to be spoilt: its `data` and a string field in it."""

    topic: str
    data: make.Fields
    text_field: str

    @property
    def good(self) -> bytes:
        return make.envelope(self.topic, self.data)

    def spoilt(self, **fields: object) -> bytes:
        return make.envelope(self.topic, self.data | fields)

    def with_raw(self, field: str, raw: bytes) -> bytes:
        """The field holds bytes that no JSON library would write."""
        return self.spoilt(**{field: "@@@"}).replace(b'"@@@"', raw)

    def without(self, field: str) -> bytes:
        return make.envelope(self.topic, {name: told for name, told in self.data.items() if name != field})


REGISTRATION: Final = Kind(topics.BATCH_REGISTERED, make.registration_data(BATCH), "user_id")
CONTENT: Final = Kind(topics.CONTENT_PROVISIONED, make.content_data(BATCH), "original_file_name")
FAILURE: Final = Kind(topics.VALIDATION_FAILED, make.failure_data(BATCH), "original_file_name")
ASSOCIATIONS: Final = Kind(topics.ASSOCIATIONS_CONFIRMED, make.associations_data(BATCH), "class_id")
KINDS: Final = (REGISTRATION, CONTENT, FAILURE, ASSOCIATIONS)

R = DeadLetterReason
_NEST: Final = 10_000
_Told = Iterator[tuple[str, bytes | None, DeadLetterReason]]


def _not_even_json(kind: Kind) -> _Told:
    yield "null value", None, R.VALUE_MISSING
    yield "no bytes", b"", R.NOT_JSON
    yield "not JSON", b"Dear Sir or Madam,", R.NOT_JSON
    yield "half an event", kind.good[: len(kind.good) // 2], R.NOT_JSON
    yield "an event and a half", kind.good + b"{", R.NOT_JSON
    yield "byte order mark", b"\xef\xbb\xbf" + kind.good, R.NOT_JSON
    yield "UTF-16", kind.good.decode().encode("utf-16"), R.NOT_JSON
    yield "Latin-1", kind.spoilt(**{kind.text_field: "åäö"}).decode().encode("latin-1"), R.NOT_JSON
    yield "raw NUL", kind.with_raw(kind.text_field, b'"a\x00b"'), R.NOT_JSON
    yield "NaN", kind.with_raw("one_more", b"NaN"), R.NOT_JSON
    yield "Infinity", kind.with_raw("one_more", b"[-Infinity]"), R.NOT_JSON


def _poison(kind: Kind) -> _Told:
    yield "NUL escaped", kind.with_raw(kind.text_field, rb'"a\u0000b"'), R.BAD_TEXT
    yield "NUL in a key", make.envelope(kind.topic, kind.data, metadata={"a\x00b": 1}), R.BAD_TEXT
    yield "lone surrogate escaped", kind.with_raw(kind.text_field, rb'"\ud800"'), R.BAD_TEXT
    yield "lone low surrogate", kind.with_raw(kind.text_field, rb'"\uDFFF"'), R.BAD_TEXT
    yield "lone surrogate raw", kind.with_raw(kind.text_field, b'"\xed\xa0\x80"'), R.BAD_TEXT
    yield "lone surrogate in metadata", _with_metadata(kind, rb'{"a":"\udc00"}'), R.BAD_TEXT
    yield "65 bits", kind.spoilt(one_more=2**64), R.NUMBER_OUT_OF_RANGE
    yield "65 bits with a sign", kind.spoilt(one_more=-(2**63) - 1), R.NUMBER_OUT_OF_RANGE
    yield "65 bits deep in metadata", _with_metadata(kind, b'{"a":[{"b":%d}]}' % 2**63), R.NUMBER_OUT_OF_RANGE
    yield "a number of many digits", kind.with_raw("one_more", b"1" * 100_000), R.NUMBER_OUT_OF_RANGE
    yield "beyond a double", _with_metadata(kind, b'{"a":-1.5e999}'), R.NUMBER_OUT_OF_RANGE
    yield "1 MiB and a byte", kind.good.ljust(MAX_VALUE_BYTES + 1), R.VALUE_TOO_LARGE
    yield "10 MB", kind.good.ljust(10_000_000), R.VALUE_TOO_LARGE
    yield "deep lists", kind.with_raw("one_more", b"[" * _NEST + b"]" * _NEST), R.TOO_DEEP
    yield "deep objects", _with_metadata(kind, b'{"a":' * _NEST + b"1" + b"}" * _NEST), R.TOO_DEEP
    yield "deep and never closed", b"[" * 1_000_000, R.TOO_DEEP


def _not_an_envelope(kind: Kind) -> _Told:
    yield "a list", b"[" + kind.good + b"]", R.CONTRACT_VIOLATION
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


def _wrong_fields(kind: Kind) -> _Told:
    event = "event_name" if "event_name" in kind.data else "event"
    yield "event of another name", kind.spoilt(**{event: "essay.eaten.by.dog"}), R.CONTRACT_VIOLATION
    for field in (kind.text_field, "batch_id" if kind is ASSOCIATIONS else "entity_id"):
        yield f"{field} is missing", kind.without(field), R.CONTRACT_VIOLATION
        yield f"{field} is null", kind.spoilt(**{field: None}), R.CONTRACT_VIOLATION
        yield f"{field} is a number", kind.spoilt(**{field: 7}), R.CONTRACT_VIOLATION
        yield f"{field} is empty", kind.spoilt(**{field: ""}), R.CONTRACT_VIOLATION
        yield f"{field} has 256 characters", kind.spoilt(**{field: "å" * 256}), R.CONTRACT_VIOLATION


def _bad_registrations() -> _Told:
    spoilt = REGISTRATION.spoilt
    ids = make.essay_ids(3, BATCH)
    for count in (0, -3, 2, 4, 10_001, 3.0, "3", True, None):
        yield f"expects {count!r} of three", spoilt(expected_essay_count=count), R.CONTRACT_VIOLATION
    yield "nothing expected, nothing given", spoilt(expected_essay_count=0, essay_ids=[]), R.CONTRACT_VIOLATION
    yield "expects more than 64 bits hold", spoilt(expected_essay_count=2**64), R.NUMBER_OUT_OF_RANGE
    yield "repeated ids", spoilt(essay_ids=[ids[0], ids[1], ids[0]]), R.CONTRACT_VIOLATION
    yield "one id too long", spoilt(essay_ids=[ids[0], ids[1], "x" * 256]), R.CONTRACT_VIOLATION
    yield "one id is a number", spoilt(essay_ids=[ids[0], ids[1], 3]), R.CONTRACT_VIOLATION
    yield "ids are one string", spoilt(essay_ids="abc"), R.CONTRACT_VIOLATION
    many = [str(number) for number in range(10_001)]
    yield "one essay too many", spoilt(essay_ids=many, expected_essay_count=10_001), R.CONTRACT_VIOLATION
    for code in ("ENG8", "eng5", "", None, 5):
        yield f"course {code!r}", spoilt(course_code=code), R.CONTRACT_VIOLATION
    yield "class is empty", spoilt(class_id=""), R.CONTRACT_VIOLATION
    yield "stage unknown", spoilt(metadata=make.metadata(processing_stage="napping")), R.CONTRACT_VIOLATION
    yield "metadata is null", spoilt(metadata=None), R.CONTRACT_VIOLATION
    yield "NUL in error_info", spoilt(metadata=make.metadata(error_info={"a": ["\x00"]})), R.BAD_TEXT
    prompt = {"references": {"student_prompt_text": {"storage_id": "prompt-1"}}}
    yield "prompt without path", spoilt(student_prompt_ref=prompt), R.CONTRACT_VIOLATION


def _bad_contents() -> _Told:
    for size in (-1, 1.5, "4096", True, None):
        yield f"size {size!r}", CONTENT.spoilt(file_size_bytes=size), R.CONTRACT_VIOLATION
    yield "size of 65 bits", CONTENT.spoilt(file_size_bytes=2**63), R.NUMBER_OUT_OF_RANGE
    yield "size is NaN", CONTENT.with_raw("file_size_bytes", b"NaN"), R.NOT_JSON
    yield "correlation id in data is no UUID", CONTENT.spoilt(correlation_id="x"), R.CONTRACT_VIOLATION
    yield "NUL in the storage id", CONTENT.spoilt(text_storage_id="text\x00"), R.BAD_TEXT
    yield "storage id missing", CONTENT.without("text_storage_id"), R.CONTRACT_VIOLATION


def _bad_failures() -> _Told:
    spoilt = FAILURE.spoilt
    yield "error code unknown", spoilt(validation_error_code="DOG_ATE_IT"), R.CONTRACT_VIOLATION
    yield "detail missing", FAILURE.without("validation_error_detail"), R.CONTRACT_VIOLATION
    yield "detail is text", spoilt(validation_error_detail="oh no"), R.CONTRACT_VIOLATION
    detail = make.error_detail(details={"a": {"b": ["\x00"]}})
    yield "NUL in details", spoilt(validation_error_detail=detail), R.BAD_TEXT
    detail = make.error_detail(details={"a": 2**80})
    yield "65 bits in details", spoilt(validation_error_detail=detail), R.NUMBER_OUT_OF_RANGE
    yield "details are a list", spoilt(validation_error_detail=make.error_detail(details=[])), R.CONTRACT_VIOLATION


def _bad_associations() -> _Told:
    for score in (-0.1, 1.1, "0.5", True, None):
        one = make.association("essay-1", confidence_score=score)
        yield f"confidence {score!r}", ASSOCIATIONS.spoilt(associations=[one]), R.CONTRACT_VIOLATION
    for name, spoilt in (("validation_method", "telepathy"), ("validated_at", "noon"), ("essay_id", None)):
        one = make.association("essay-1") | {name: spoilt}
        yield f"{name} is {spoilt!r}", ASSOCIATIONS.spoilt(associations=[one]), R.CONTRACT_VIOLATION
    yield "timeout as a number", ASSOCIATIONS.spoilt(timeout_triggered=1), R.CONTRACT_VIOLATION
    yield "summary counts in words", ASSOCIATIONS.spoilt(validation_summary={"human": "3"}), R.CONTRACT_VIOLATION
    yield "associations are an object", ASSOCIATIONS.spoilt(associations={}), R.CONTRACT_VIOLATION


def _with_metadata(kind: Kind, raw: bytes) -> bytes:
    return make.envelope(kind.topic, kind.data, metadata="@@@").replace(b'"@@@"', raw)


def _enveloped(kind: Kind, **fields: object) -> bytes:
    return make.envelope(kind.topic, kind.data, **fields)


_OWN: Final = (
    (REGISTRATION, _bad_registrations),
    (CONTENT, _bad_contents),
    (FAILURE, _bad_failures),
    (ASSOCIATIONS, _bad_associations),
)


def _cases() -> Iterator[InvalidRecordCase]:
    for kind, own in _OWN:
        told = [*_not_even_json(kind), *_poison(kind), *_not_an_envelope(kind), *_wrong_fields(kind), *own()]
        for number, (name, value, reason) in enumerate(told):
            # A third without a key, a third with one that is no text: neither makes an event bad or good.
            key = (BATCH.encode(), None, b"\xff\x00")[number % 3]
            yield InvalidRecordCase(f"{kind.topic.split('.')[-2]}: {name}", kind.topic, value, key, reason)


CASES: Final = tuple(_cases())
