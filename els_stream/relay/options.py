"""Options of the relay, with defaults for production; tests shorten the times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from els_stream.queries.outbox_rows import WaitingRow

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

MEBIBYTE: Final = 2**20

OnAck: TypeAlias = Callable[[Sequence[WaitingRow], float], None]
"""Called with rows that the broker has acknowledged, before they are deleted, and the `time.time` at which their batch
began. It must be fast and must not raise.
"""


def noop(_rows: Sequence[WaitingRow], _since: float) -> None:
    """Ignore the acknowledgement: the default `on_ack`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """Times in seconds, sizes in bytes.

    `lease_seconds` must be shorter than `session_idle_timeout_seconds`: the relay stops publishing before PostgreSQL
    gives its shards to others.
    """

    poll_interval_seconds: float = 1.0
    fetch_rows: int = 2000
    fetch_bytes: int = 8 * MEBIBYTE
    publishers: int = 2
    shard_check_interval_seconds: float = 1.0
    lease_seconds: float = 10.0
    session_idle_timeout_seconds: float = 15.0
    batch_bytes: int = MEBIBYTE // 2
    request_bytes: int = 16 * MEBIBYTE
    compression: str | None = None
    topic_timeout_seconds: float = 2.0
    delivery_timeout_seconds: float = 10.0
    deferral_initial_seconds: float = 1.0
    deferral_max_seconds: float = 60.0
    retry_initial_seconds: float = 0.1
    retry_max_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.lease_seconds >= self.session_idle_timeout_seconds:
            raise ValueError("lease_seconds must be shorter than session_idle_timeout_seconds")

    @classmethod
    def from_settings(cls, settings: Settings) -> RelayOptions:
        return cls(
            poll_interval_seconds=settings.relay_poll_seconds,
            fetch_rows=settings.relay_fetch_rows,
            retry_initial_seconds=settings.retry_initial_seconds,
            retry_max_seconds=settings.retry_max_seconds,
        )
