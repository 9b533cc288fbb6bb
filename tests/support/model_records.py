"""Records with what the model needs to know of them."""

from __future__ import annotations

from tests.support.batch_harness import Mailbag
from tests.support.model import Letter


def registration(bag: Mailbag, batch_id: str, essays: int, class_id: str | None) -> Letter:
    record = bag.registration(batch_id, essays, class_id=class_id)
    return Letter(record, "registration", batch_id, essays=essays, class_id=class_id)


def content(bag: Mailbag, batch_id: str, number: int, other: int) -> Letter:
    """The numbers of upload and text are apart, so that they meet in every way."""
    record = bag.content(number, batch_id, text_storage_id=f"text-{other}")
    return Letter(record, "content", batch_id, _upload(batch_id, number), f"text-{other}")


def failure(bag: Mailbag, batch_id: str, number: int) -> Letter:
    return Letter(bag.failure(number, batch_id), "failure", batch_id, _upload(batch_id, number))


def associations(bag: Mailbag, batch_id: str, essays: int, class_id: str) -> Letter:
    record = bag.associations(essays, batch_id, class_id=class_id)
    return Letter(record, "associations", batch_id, essays=essays, class_id=class_id)


def poison(bag: Mailbag, topic: str) -> Letter:
    return Letter(bag.record(topic, b"Dear Sir or Madam,"), "poison")


def _upload(batch_id: str, number: int) -> str:
    return f"upload-{batch_id}-{number:05}"
