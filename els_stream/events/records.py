"""The Kafka record that all packages pass around: raw bytes and their place in Kafka."""

from els_stream.fast_dataclass import fast_dataclass


@fast_dataclass
class RawRecord:
    """One undecoded record.

    `topic` is the logical name, without an environment's prefix; `timestamp` is in milliseconds since the epoch.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
