"""Deterministic event ids: the same fact told again carries the same id, whoever tells it and whenever."""

import hashlib
from typing import Final
from uuid import UUID

from msgspec import convert

NAMESPACE: Final = UUID("5c1cd87e-28b6-58dd-b9ea-2e9a587a6f16")

# UUIDv5 is SHA-1 over namespace and name; the state after the namespace is the same for every event.
_AFTER_NAMESPACE: Final = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)


# The digit that holds two bits of the variant, by the digit of the digest that stands there.
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def event_id(topic: str, batch_id: str, subject: str) -> UUID:
    """The id of the fact that `subject` names in this batch; `topic` is the logical one, else environments disagree."""
    return convert(written_event_id(topic, batch_id, subject), UUID)


def written_event_id(topic: str, batch_id: str, subject: str) -> str:
    """The same as it stands in events: a UUID object that is only written costs more than the digest."""
    digest = _AFTER_NAMESPACE.copy()
    digest.update(f"{_escaped(topic)}|{_escaped(batch_id)}|{_escaped(subject)}".encode())
    told = digest.hexdigest()
    return f"{told[:8]}-{told[8:12]}-5{told[13:16]}-{_VARIANT[told[16]]}{told[17:20]}-{told[20:32]}"


def slot_subject(essay_id: str, text_storage_id: str) -> str:
    """What an assignment is told about: this text in this slot."""
    return f"{essay_id}/{text_storage_id}"


def dead_letter_subject(topic: str, partition: int, offset: int, timestamp: int) -> str:
    """The place of a dead letter in Kafka; the timestamp (ms) tells a topic made anew from the old one."""
    return f"{topic}/{partition}/{offset}/{timestamp}"


def _escaped(part: str) -> str:
    """Without this, `a|b` + `c` and `a` + `b|c` would be one fact."""
    return part.replace("%", "%25").replace("|", "%7C")
