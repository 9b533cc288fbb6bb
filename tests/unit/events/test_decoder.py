"""Two readers, one contract: what the fast one takes, the exact one takes too, and alike; the ordinary it does take."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta
from pydantic.fields import FieldInfo

from els_stream.events import inbound, topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.decoder import decode_content
from els_stream.events.fields import Contract
from els_stream.events.inbound import Envelope
from els_stream.events.json_checks import MAX_DEPTH
from tests.support import factories as make
from tests.support.decoders import DECODERS
from tests.support.invalid_records import CASES, CONTENT, KINDS, InvalidRecordCase, Kind

GOLDEN: Final = Path(__file__).parents[2] / "golden"
RECEIVED: Final = {
    "batch_essays_registered": topics.BATCH_REGISTERED,
    "essay_content_provisioned": topics.CONTENT_PROVISIONED,
    "essay_validation_failed": topics.VALIDATION_FAILED,
    "student_associations_confirmed": topics.ASSOCIATIONS_CONFIRMED,
}

# Size and event type are judged beside the readers.
LEFT_TO_THE_EXACT: Final = [
    case for case in CASES if case.reason is not DeadLetterReason.VALUE_TOO_LARGE and "event type" not in case.name
]

# What Python's, Java's and JavaScript's libraries write of UTC.
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
    *(b'"%s"' % told.encode() for told in ORDINARY_TIMES + ODD_TIMES),
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
# No lone `e`, which looks like an exponent, no colon, of which times end, and nothing that Python writes as surrogates.
NAMES = st.text("abcxyzåäöÅЖ中'\"&+-_.,;()[] 0123456789", min_size=1, max_size=18)


def agree(topic: str, value: bytes) -> bool:
    """Whether the fast reader took it. Compared as written: `==` takes 1 for true, and noon for noon elsewhere."""
    reader = DECODERS[topic]
    envelope = reader.decode_fast(value)
    if envelope is not None:
        exact = reader.decode_strict(value)
        assert envelope == exact
        assert repr(envelope) == repr(exact)
    return envelope is not None


@pytest.mark.parametrize("name", RECEIVED)
def test_a_golden_event_is_read_fast_and_alike(name: str) -> None:
    assert agree(RECEIVED[name], (GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("case", LEFT_TO_THE_EXACT, ids=lambda case: case.name)
def test_what_is_hostile_is_left_to_the_exact_reader(case: InvalidRecordCase) -> None:
    assert case.value is None or DECODERS[case.topic].decode_fast(case.value) is None


@pytest.mark.parametrize("told", ORDINARY_TIMES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.topic)
def test_ordinary_times_are_read_fast(kind: Kind, told: str) -> None:
    value = kind.good.replace(make.NOON_TEXT.encode(), told.encode())

    assert agree(kind.topic, value)


@pytest.mark.parametrize("told", ODD_TIMES)
@pytest.mark.parametrize("field", ["event_timestamp", "timestamp"])
@pytest.mark.parametrize("escaped", [False, True])
def test_odd_times_are_left_to_the_exact_reader(field: str, told: str, *, escaped: bool) -> None:
    written = "".join(f"\\u{ord(sign):04x}" for sign in told) if escaped else told
    other = make.NOON_TEXT.encode()
    value = CONTENT.good.replace(
        b'"%s":"%s"' % (field.encode(), other), b'"%s":"%s"' % (field.encode(), written.encode())
    )

    assert value != CONTENT.good
    assert decode_content.decode_fast(value) is None


@pytest.mark.parametrize(
    "raw", [b'"\xff"', b'{"\xff":1}', b'"\xed\xa0\x80"', b"1e999", b"18446744073709551616", b'"\\u0000"']
)
@pytest.mark.parametrize("space", [b"", b" ", b"\n", b"\t", b"\r"])
def test_poison_in_what_is_ignored_is_left_to_the_exact_reader(raw: bytes, space: bytes) -> None:
    value = CONTENT.with_raw("one_more", space + raw + space)

    assert decode_content.decode_fast(value) is None


@st.composite
def ordinary(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good event as some library writes it, with names of any letters and fields that we do not know."""
    kind = draw(st.sampled_from(KINDS))
    data = kind.data | draw(st.dictionaries(st.just(kind.text_field) | st.sampled_from(["extra", "more"]), NAMES))
    nullable = [name for name in ("event", "class_id", "timestamp", "content_md5_hash") if data.get(name)]
    for name in draw(st.sets(st.sampled_from(nullable))) if nullable and kind is not KINDS[-1] else ():
        data = {field: told for field, told in data.items() if field != name}
    whole = json.loads(make.envelope(kind.topic, data, metadata=draw(st.none() | st.just({"traceparent": "00-4b"}))))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(
        whole, ensure_ascii=draw(st.booleans()), separators=separators, indent=draw(st.none() | st.just(1))
    )
    return kind.topic, text.replace(make.NOON_TEXT, draw(st.sampled_from(ORDINARY_TIMES))).encode()


@settings(max_examples=100, deadline=None)
@given(ordinary())
def test_an_ordinary_event_is_read_fast_and_alike(event: tuple[str, bytes]) -> None:
    assert agree(*event)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_what_is_read_fast_is_read_alike_whatever_one_field_holds(kind: Kind, data: st.DataObject) -> None:
    whole = json.loads(make.envelope(kind.topic, kind.data))
    place = data.draw(st.sampled_from(list(_places(whole))))
    node = whole
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = "@@@"
    raw = data.draw(st.sampled_from(SNIPPETS) | JSON.map(lambda told: json.dumps(told).encode()))

    agree(kind.topic, json.dumps(whole).encode().replace(b'"@@@"', raw))


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_what_is_read_fast_is_read_alike_whatever_the_bytes(kind: Kind, data: st.DataObject) -> None:
    value = kind.good
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(value)))
        snippet = data.draw(
            st.sampled_from(SNIPPETS) | st.binary(max_size=2) | st.sampled_from([b",", b'"', b" ", b"0"])
        )
        value = value[:start] + snippet + value[start + data.draw(st.integers(0, 8)) :]

    agree(kind.topic, value)


@pytest.mark.parametrize(
    ("kind_of_text", "fast"),
    [("student_prompt_text", True), ("a" * 255, True), ("a" * 256, False), ("Text", False), ("text\n", False)],
)
def test_a_prompt_is_read_fast_under_a_name_that_the_contract_allows(kind_of_text: str, *, fast: bool) -> None:
    prompt = {"references": {kind_of_text: {"storage_id": "prompt-1", "path": ""}}}

    assert agree(topics.BATCH_REGISTERED, make.registration(student_prompt_ref=prompt)) is fast


def test_no_title_keeps_an_event_from_being_read_fast() -> None:
    odd = [name for name in make.TITLES if not agree(topics.CONTENT_PROVISIONED, make.content(original_file_name=name))]

    assert odd == []


def test_both_readers_are_told_the_same_bounds() -> None:
    demands = [(place, *demand) for contract in _contracts() for place, *demand in _demands(contract)]

    assert len(demands) > 40
    assert [(place, exact, fast) for place, exact, fast in demands if exact != fast] == []


def _contracts() -> list[type[Contract]]:
    named = [getattr(inbound, name) for name in dir(inbound)]
    return [Envelope, *(n for n in named if isinstance(n, type) and issubclass(n, Contract) and n is not Contract)]


def _demands(contract: type[Any]) -> Iterator[tuple[str, dict[str, int], dict[str, int]]]:
    hints = get_type_hints(contract, include_extras=True)
    for field in fields(contract):
        for place, notes in _notes(f"{contract.__name__}.{field.name}", hints[field.name]):
            exact = [part for note in notes if isinstance(note, FieldInfo) for part in note.metadata]
            yield place, _bounds(exact), _bounds([note for note in notes if isinstance(note, Meta)])


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
