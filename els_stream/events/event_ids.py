"""Deterministic event ids: the same fact gets the same id whenever and by whichever worker it is published."""

import hashlib
from typing import Final
from uuid import UUID

from msgspec import convert

NAMESPACE: Final = UUID("5c1cd87e-28b6-58dd-b9ea-2e9a587a6f16")

# UUIDv5 (RFC 9562, 5.5) is SHA-1 over namespace and name; the namespace is hashed once.
_NAMESPACE_HASHED: Final = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)

# UUID's variant replaces two bits of a digit: the resulting digit, by the digest's.
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def event_id(topic: str, batch_id: str, subject: str) -> UUID:
    """Return the id of the fact that `subject` identifies in the batch.

    `topic` is the logical name, so that ids are equal in all environments.
    """
    return convert(event_id_text(topic, batch_id, subject), UUID)


def event_id_text(topic: str, batch_id: str, subject: str) -> str:
    """Return `event_id` as text; making a UUID object only to write it costs more than the digest."""
    digest = _NAMESPACE_HASHED.copy()
    digest.update(f"{_escaped(topic)}|{_escaped(batch_id)}|{_escaped(subject)}".encode())
    digits = digest.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"


def slot_subject(essay_id: str, text_storage_id: str) -> str:
    """Return the subject of an assignment event: one text in one slot."""
    return f"{essay_id}/{text_storage_id}"


def dead_letter_subject(topic: str, partition: int, offset: int, timestamp: int) -> str:
    """Return the subject of a dead letter event: the record's place in Kafka.

    The timestamp (ms) distinguishes the records of a topic that was deleted and created again.
    """
    return f"{topic}/{partition}/{offset}/{timestamp}"


def _escaped(part: str) -> str:
    """Escape the separator: otherwise `a|b` + `c` and `a` + `b|c` would have one id."""
    return part.replace("%", "%25").replace("|", "%7C")
