"""How the relay behaves, with defaults that suit production; tests shorten the times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from els_stream.queries.outbox import WaitingRow

MEBIBYTE: Final = 2**20

OnAck: TypeAlias = Callable[[Sequence[WaitingRow], float], None]
"""Told of rows that the broker has, before they are deleted, and of when their pass began, by `time.time`.

It must be quick, and not raise.
"""


def nobody(_rows: Sequence[WaitingRow], _since: float) -> None:
    """Is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """`lease_seconds` must be shorter than `session_idle_seconds`: we stop before PostgreSQL gives our shards away."""

    poll_seconds: float = 1.0
    fetch_rows: int = 2000
    fetch_bytes: int = 8 * MEBIBYTE
    passes_in_flight: int = 2
    share_check_seconds: float = 1.0
    lease_seconds: float = 10.0
    session_idle_seconds: float = 15.0
    batch_bytes: int = MEBIBYTE // 2
    request_bytes: int = 16 * MEBIBYTE
    compression: str | None = None
    topic_seconds: float = 2.0
    delivery_seconds: float = 10.0
    hold_initial_seconds: float = 1.0
    hold_max_seconds: float = 60.0
    retry_initial_seconds: float = 0.1
    retry_max_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.lease_seconds >= self.session_idle_seconds:
            raise ValueError("lease_seconds must be shorter than session_idle_seconds")
