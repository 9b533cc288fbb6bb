"""Records that nobody can read, each with the reason that must stand on its dead letter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from els_stream.demo import messages
from els_stream.demo.messages import Message, Upload
from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason as R

if TYPE_CHECKING:
    from collections.abc import Iterator

    from els_stream.demo.random_source import RandomSource

_BATCH = "batch-of-horrors"
_TOO_DEEP = 200
POISON_KINDS: Final = 10


def poison(dice: RandomSource) -> Iterator[tuple[Message, R]]:
    yield Message(topics.CONTENT_PROVISIONED, None, b"Dear Sir or Madam, the dog ate my JSON."), R.NOT_JSON
    yield Message(topics.BATCH_REGISTERED, None, b'{"essays": "see attachment"}'), R.CONTRACT_VIOLATION
    yield Message(topics.ASSOCIATIONS_CONFIRMED, _BATCH.encode(), None), R.VALUE_MISSING
    yield Message(topics.VALIDATION_FAILED, b"\xff\x00", b"[" * _TOO_DEEP + b"]" * _TOO_DEEP), R.TOO_DEEP
    yield _registration(dice, expected_essay_count=4), R.CONTRACT_VIOLATION
    yield _registration(dice, essay_ids=["a", "b", "a"]), R.CONTRACT_VIOLATION
    yield _registration(dice, course_code="KLINGON2"), R.CONTRACT_VIOLATION
    yield _content(dice, original_file_name="Bobby\x00Tables.docx"), R.BAD_TEXT
    yield _content(dice, file_size_bytes=2**64), R.NUMBER_OUT_OF_RANGE
    yield _from_the_future(dice), R.UNSUPPORTED_SCHEMA_VERSION


def _registration(dice: RandomSource, **fields: object) -> Message:
    data = messages.registration(_BATCH, ["a", "b", "c"], course="ENG5", user="mr-hyde", class_id=None)
    value = messages.envelope(dice, topics.BATCH_REGISTERED, dice.uuid(), data | fields)
    return Message(topics.BATCH_REGISTERED, _BATCH.encode(), value)


def _content(dice: RandomSource, **fields: object) -> Message:
    data = messages.content(_BATCH, Upload("upload-of-horrors", "text-of-horrors", "Dracula.docx", dice.uuid()))
    value = messages.envelope(dice, topics.CONTENT_PROVISIONED, dice.uuid(), data | fields)
    return Message(topics.CONTENT_PROVISIONED, _BATCH.encode(), value)


def _from_the_future(dice: RandomSource) -> Message:
    value = _content(dice).value or b""
    told = json.dumps(json.loads(value) | {"schema_version": 7}).encode()
    return Message(topics.CONTENT_PROVISIONED, _BATCH.encode(), told)
