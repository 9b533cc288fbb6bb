"""Records of each kind with the values that the model needs."""

from __future__ import annotations

from tests.support.batch_harness import RecordFactory
from tests.support.model import ModelRecord


def registration(factory: RecordFactory, batch_id: str, essays: int, class_id: str | None) -> ModelRecord:
    record = factory.registration(batch_id, essays, class_id=class_id)
    return ModelRecord(record, "registration", batch_id, essays=essays, class_id=class_id)


def content(factory: RecordFactory, batch_id: str, number: int, other: int) -> ModelRecord:
    """Upload and text have numbers of their own, so that they are combined in every way."""
    record = factory.content(number, batch_id, text_storage_id=f"text-{other}")
    return ModelRecord(record, "content", batch_id, _upload(batch_id, number), f"text-{other}")


def failure(factory: RecordFactory, batch_id: str, number: int) -> ModelRecord:
    return ModelRecord(factory.failure(number, batch_id), "failure", batch_id, _upload(batch_id, number))


def associations(factory: RecordFactory, batch_id: str, essays: int, class_id: str) -> ModelRecord:
    record = factory.associations(essays, batch_id, class_id=class_id)
    return ModelRecord(record, "associations", batch_id, essays=essays, class_id=class_id)


def invalid(factory: RecordFactory, topic: str) -> ModelRecord:
    return ModelRecord(factory.record(topic, b"Dear Sir or Madam,"), "invalid")


def _upload(batch_id: str, number: int) -> str:
    return f"upload-{batch_id}-{number:05}"
