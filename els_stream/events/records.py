"""The Kafka record as every room passes it around: raw bytes and where they came from, nothing parsed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as it lay in Kafka.

    `topic` is the logical name, without an environment's prefix; `timestamp` is in milliseconds.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
