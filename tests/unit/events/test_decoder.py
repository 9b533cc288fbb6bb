"""The fast decoder returns the same result as the strict one, or None; it decodes all ordinary events."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta
from pydantic.fields import FieldInfo

from els_stream.config.setting_types import CHECKOUT
from els_stream.demo.names import TITLES
from els_stream.events import inbound, topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.decoder import decode_content
from els_stream.events.fields import Contract
from els_stream.events.inbound import Envelope
from els_stream.events.json_checks import MAX_DEPTH
from tests.support import factories as make
from tests.support.decoders import DECODERS
from tests.support.invalid_records import CASES, CONTENT, KINDS, InvalidRecordCase, Kind

GOLDEN: Final = CHECKOUT / "els_stream" / "events" / "examples"
INPUT: Final = {
    "batch_essays_registered": topics.BATCH_REGISTERED,
    "essay_content_provisioned": topics.CONTENT_PROVISIONED,
    "essay_validation_failed": topics.VALIDATION_FAILED,
    "student_associations_confirmed": topics.ASSOCIATIONS_CONFIRMED,
}

# Size and event type are checked outside of both decoders.
STRICT_ONLY: Final = [
    case for case in CASES if case.reason is not DeadLetterReason.VALUE_TOO_LARGE and "event type" not in case.name
]

# UTC as libraries of Python, Java and JavaScript write it.
ORDINARY_TIMES: Final = (
    "2026-01-31T12:00:00Z",
    "2026-01-31T12:00:00.5Z",
    "2026-01-31T12:00:00.123Z",
    "2026-01-31T12:00:00.123456Z",
    "2026-01-31T12:00:00+00:00",
    "2026-01-31T12:00:00.123456+00:00",
)
ODD_TIMES: Final = (
    "2026-01-31T12:00:00",
    "2026-01-31T12:00:00.123456",
    "2026-01-31 12:00:00",
    "2026-01-31T12:00:00.1234567Z",
    "2026-01-31T12:00:00.9999999Z",
    "2026-01-31T12:00:00.123456789+00:00",
    "2026-01-31T14:30:00+02:30",
    "2026-01-31T09:30:00.5-02:30",
    "2026-01-31T12:00:00-00:00",
    "2026-01-31T12:00:00+0000",
    "2026-01-31T12:00:00.5-0000",
    "2026-01-31T12:00:00+00",
    "2026-01-31T12:00:00+00:60",
    "9999-12-31T23:59:59.9999999Z",
)
SNIPPETS: Final = (
    *(b'"%s"' % time.encode() for time in ORDINARY_TIMES + ODD_TIMES),
    *(b"null", b"true", b"0", b"-0", b"-0.0", b"1", b"1.0", b"1e2", b"1e999", b"01", b"1.", b"-", b"NaN", b"[]", b"{}"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"0.30000000000000004"),
    *(
        b'""',
        b'"x"',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\\ud83c\\udf89"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\x01"',
        b'"\\x"',
    ),
    *(b'{"a":1,"a":2}', b"[1,]", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, b'"%s"' % (b"x" * 256), b'"\\u0031"'),
    *(b'"946bbfd7e5b955f7b877630e5866d7a9"', b'"{946bbfd7-e5b9-55f7-b877-630e5866d7a9}"', b'"946BBFD7"'),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(ODD_TIMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
# No lone `e` (like an exponent), no colon (as in times), and nothing that Python writes as surrogates.
NAMES = st.text("abcxyzåäöÅЖ中'\"&+-_.,;()[] 0123456789", min_size=1, max_size=18)


def decoded_fast(topic: str, value: bytes) -> bool:
    """Return whether the fast decoder decodes the value, and assert that the strict one returns the same.

    Compares `repr` too, since 1 equals True and equal times may have different zones.
    """
    decoder = DECODERS[topic]
    envelope = decoder.decode_fast(value)
    if envelope is not None:
        strict = decoder.decode_strict(value)
        assert envelope == strict
        assert repr(envelope) == repr(strict)
    return envelope is not None


@pytest.mark.parametrize("name", INPUT)
def test_a_golden_event_is_decoded_fast(name: str) -> None:
    assert decoded_fast(INPUT[name], (GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("case", STRICT_ONLY, ids=lambda case: case.name)
def test_an_invalid_record_is_left_to_the_strict_decoder(case: InvalidRecordCase) -> None:
    assert case.value is None or DECODERS[case.topic].decode_fast(case.value) is None


@pytest.mark.parametrize("time", ORDINARY_TIMES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.topic)
def test_ordinary_times_are_decoded_fast(kind: Kind, time: str) -> None:
    value = kind.valid.replace(make.NOON_TEXT.encode(), time.encode())

    assert decoded_fast(kind.topic, value)


@pytest.mark.parametrize("time", ODD_TIMES)
@pytest.mark.parametrize("field", ["event_timestamp", "timestamp"])
@pytest.mark.parametrize("escaped", [False, True])
def test_unusual_times_are_left_to_the_strict_decoder(field: str, time: str, *, escaped: bool) -> None:
    written = "".join(f"\\u{ord(sign):04x}" for sign in time) if escaped else time
    other = make.NOON_TEXT.encode()
    value = CONTENT.valid.replace(
        b'"%s":"%s"' % (field.encode(), other), b'"%s":"%s"' % (field.encode(), written.encode())
    )

    assert value != CONTENT.valid
    assert decode_content.decode_fast(value) is None


@pytest.mark.parametrize(
    "raw", [b'"\xff"', b'{"\xff":1}', b'"\xed\xa0\x80"', b"1e999", b"18446744073709551616", b'"\\u0000"']
)
@pytest.mark.parametrize("space", [b"", b" ", b"\n", b"\t", b"\r"])
def test_an_invalid_value_in_an_ignored_field_is_left_to_the_strict_decoder(raw: bytes, space: bytes) -> None:
    value = CONTENT.with_raw("one_more", space + raw + space)

    assert decode_content.decode_fast(value) is None


@st.composite
def ordinary(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a valid event as some library writes it, with any names and with unknown fields."""
    kind = draw(st.sampled_from(KINDS))
    data = kind.data | draw(st.dictionaries(st.just(kind.text_field) | st.sampled_from(["extra", "more"]), NAMES))
    nullable = [name for name in ("event", "class_id", "timestamp", "content_md5_hash") if data.get(name)]
    for name in draw(st.sets(st.sampled_from(nullable))) if nullable and kind is not KINDS[-1] else ():
        data = {field: value for field, value in data.items() if field != name}
    whole = json.loads(make.envelope(kind.topic, data, metadata=draw(st.none() | st.just({"traceparent": "00-4b"}))))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(
        whole, ensure_ascii=draw(st.booleans()), separators=separators, indent=draw(st.none() | st.just(1))
    )
    return kind.topic, text.replace(make.NOON_TEXT, draw(st.sampled_from(ORDINARY_TIMES))).encode()


@settings(max_examples=100)
@given(ordinary())
def test_an_ordinary_event_is_decoded_fast(event: tuple[str, bytes]) -> None:
    assert decoded_fast(*event)


@settings(max_examples=200)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_decoders_agree_on_any_value_of_a_field(kind: Kind, data: st.DataObject) -> None:
    whole = json.loads(make.envelope(kind.topic, kind.data))
    place = data.draw(st.sampled_from(list(_places(whole))))
    node = whole
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = "@@@"
    raw = data.draw(st.sampled_from(SNIPPETS) | JSON.map(lambda node: json.dumps(node).encode()))

    decoded_fast(kind.topic, json.dumps(whole).encode().replace(b'"@@@"', raw))


@settings(max_examples=200)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_decoders_agree_on_any_change_of_bytes(kind: Kind, data: st.DataObject) -> None:
    value = kind.valid
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(value)))
        snippet = data.draw(
            st.sampled_from(SNIPPETS) | st.binary(max_size=2) | st.sampled_from([b",", b'"', b" ", b"0"])
        )
        value = value[:start] + snippet + value[start + data.draw(st.integers(0, 8)) :]

    decoded_fast(kind.topic, value)


@pytest.mark.parametrize(
    ("kind_of_text", "fast"),
    [("student_prompt_text", True), ("a" * 255, True), ("a" * 256, False), ("Text", False), ("text\n", False)],
)
def test_a_prompt_with_an_allowed_name_is_decoded_fast(kind_of_text: str, *, fast: bool) -> None:
    prompt = {"references": {kind_of_text: {"storage_id": "prompt-1", "path": ""}}}

    assert decoded_fast(topics.BATCH_REGISTERED, make.registration(student_prompt_ref=prompt)) is fast


def test_events_with_ordinary_titles_are_decoded_fast() -> None:
    odd = [
        name for name in TITLES if not decoded_fast(topics.CONTENT_PROVISIONED, make.content(original_file_name=name))
    ]

    assert odd == []


def test_both_decoders_have_the_same_bounds() -> None:
    bounds = [(place, strict, fast) for contract in _contracts() for place, strict, fast in _bounds_of(contract)]

    assert len(bounds) == 55
    assert [(place, strict, fast) for place, strict, fast in bounds if strict != fast] == []


def _contracts() -> list[type[Contract]]:
    named = [getattr(inbound, name) for name in dir(inbound)]
    return [Envelope, *(n for n in named if isinstance(n, type) and issubclass(n, Contract) and n is not Contract)]


def _bounds_of(contract: type[Any]) -> Iterator[tuple[str, dict[str, int], dict[str, int]]]:
    hints = get_type_hints(contract, include_extras=True)
    for field in fields(contract):
        for place, notes in _notes(f"{contract.__name__}.{field.name}", hints[field.name]):
            strict = [entry for note in notes if isinstance(note, FieldInfo) for entry in note.metadata]
            yield place, _bounds(strict), _bounds([note for note in notes if isinstance(note, Meta)])


def _bounds(notes: Sequence[object]) -> dict[str, int]:
    names = ("ge", "le", "min_length", "max_length")
    return {name: bound for note in notes for name in names if (bound := getattr(note, name, None)) is not None}


def _notes(place: str, hint: Any) -> Iterator[tuple[str, tuple[object, ...]]]:  # noqa: ANN401
    if get_origin(hint) is Annotated:
        yield place, hint.__metadata__
        hint = hint.__origin__
    for inner in get_args(hint) if get_origin(hint) in {Union, UnionType, tuple, dict} else ():
        yield from _notes(place, inner)


def _places(node: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, below in inside:
        yield (*place, step)
        yield from _places(below, (*place, step))
