"""Invalid records, each with the expected reason of its dead letter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from els_stream.demo import messages
from els_stream.demo.messages import DemoUpload, Message
from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason as R

if TYPE_CHECKING:
    from collections.abc import Iterator

    from els_stream.demo.random_source import RandomSource

_BATCH = "batch-of-horrors"
_TOO_DEEP = 200
POISON_KINDS: Final = 10


def poison(rng: RandomSource) -> Iterator[tuple[Message, R]]:
    """Yield POISON_KINDS invalid records with their reasons."""
    yield Message(topics.CONTENT_PROVISIONED, None, b"Dear Sir or Madam, the dog ate my JSON."), R.NOT_JSON
    yield Message(topics.BATCH_REGISTERED, None, b'{"essays": "see attachment"}'), R.CONTRACT_VIOLATION
    yield Message(topics.ASSOCIATIONS_CONFIRMED, _BATCH.encode(), None), R.VALUE_MISSING
    yield Message(topics.VALIDATION_FAILED, b"\xff\x00", b"[" * _TOO_DEEP + b"]" * _TOO_DEEP), R.TOO_DEEP
    yield _registration(rng, expected_essay_count=4), R.CONTRACT_VIOLATION
    yield _registration(rng, essay_ids=["a", "b", "a"]), R.CONTRACT_VIOLATION
    yield _registration(rng, course_code="KLINGON2"), R.CONTRACT_VIOLATION
    yield _content(rng, original_file_name="Bobby\x00Tables.docx"), R.BAD_TEXT
    yield _content(rng, file_size_bytes=2**64), R.NUMBER_OUT_OF_RANGE
    yield _from_the_future(rng), R.UNSUPPORTED_SCHEMA_VERSION


def _registration(rng: RandomSource, **fields: object) -> Message:
    data = messages.registration(_BATCH, ["a", "b", "c"], course="ENG5", user="mr-hyde", class_id=None)
    value = messages.envelope(rng, topics.BATCH_REGISTERED, rng.uuid(), data | fields)
    return Message(topics.BATCH_REGISTERED, _BATCH.encode(), value)


def _content(rng: RandomSource, **fields: object) -> Message:
    data = messages.content(_BATCH, DemoUpload("upload-of-horrors", "text-of-horrors", "Dracula.docx", rng.uuid()))
    value = messages.envelope(rng, topics.CONTENT_PROVISIONED, rng.uuid(), data | fields)
    return Message(topics.CONTENT_PROVISIONED, _BATCH.encode(), value)


def _from_the_future(rng: RandomSource) -> Message:
    value = _content(rng).value or b""
    newer = json.dumps(json.loads(value) | {"schema_version": 7}).encode()
    return Message(topics.CONTENT_PROVISIONED, _BATCH.encode(), newer)
