from __future__ import annotations

import pytest

from els_stream.events import topics
from els_stream.events.batch_id import batch_id_of


@pytest.mark.parametrize(
    ("topic", "value", "batch_id"),
    [
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "b-9", "batch_id": "other"}}', "b-9"),
        (topics.BATCH_REGISTERED, b'{"schema_version": 7, "data": {"new": [1e999], "entity_id": "b-9"}}', "b-9"),
        (topics.ASSOCIATIONS_CONFIRMED, b'{"data": {"entity_id": "other", "batch_id": "b-9"}}', "b-9"),
        (topics.ASSOCIATIONS_CONFIRMED, b'{"data": {"entity_id": "other"}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": 9}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": ""}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "\\u0000"}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "\\ud800"}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "\xff"}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "' + b"b" * 256 + b'"}}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": ["b-9"]}', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "b-9"', None),
        (topics.CONTENT_PROVISIONED, b'{"data": {"x": ' + b"[" * 100_000 + b"}}", None),
        (topics.CONTENT_PROVISIONED, b"Dear Sir or Madam,", None),
        (topics.CONTENT_PROVISIONED, b"", None),
        (topics.CONTENT_PROVISIONED, None, None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_batch_id_is_read_as_far_as_the_record_can_be_read(
    topic: str, value: bytes | None, batch_id: str | None
) -> None:
    assert batch_id_of(topic, value) == batch_id
