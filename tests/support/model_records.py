"""Records with what the model needs to know of them."""

from __future__ import annotations

from tests.support.batch_harness import RecordFactory
from tests.support.model import ModelRecord


def registration(bag: RecordFactory, batch_id: str, essays: int, class_id: str | None) -> ModelRecord:
    record = bag.registration(batch_id, essays, class_id=class_id)
    return ModelRecord(record, "registration", batch_id, essays=essays, class_id=class_id)


def content(bag: RecordFactory, batch_id: str, number: int, other: int) -> ModelRecord:
    """The numbers of upload and text are apart, so that they meet in every way."""
    record = bag.content(number, batch_id, text_storage_id=f"text-{other}")
    return ModelRecord(record, "content", batch_id, _upload(batch_id, number), f"text-{other}")


def failure(bag: RecordFactory, batch_id: str, number: int) -> ModelRecord:
    return ModelRecord(bag.failure(number, batch_id), "failure", batch_id, _upload(batch_id, number))


def associations(bag: RecordFactory, batch_id: str, essays: int, class_id: str) -> ModelRecord:
    record = bag.associations(essays, batch_id, class_id=class_id)
    return ModelRecord(record, "associations", batch_id, essays=essays, class_id=class_id)


def poison(bag: RecordFactory, topic: str) -> ModelRecord:
    return ModelRecord(bag.record(topic, b"Dear Sir or Madam,"), "poison")


def _upload(batch_id: str, number: int) -> str:
    return f"upload-{batch_id}-{number:05}"
