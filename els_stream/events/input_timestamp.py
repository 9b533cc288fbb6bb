"""Timestamps of input records, truncated to 31 bits to fit into four bytes of an outbox event, and ages from them."""

from __future__ import annotations

from typing import Final

_LOW_31_BITS: Final = 0x7FFF_FFFF
MAX_CLOCK_SKEW_MS: Final = 3_600_000  # how far a producer's clock may be ahead


def truncate_timestamp(timestamp: int) -> int | None:
    """Return the low 31 bits of a record's timestamp (ms since the epoch); None for a record without one (-1)."""
    return timestamp & _LOW_31_BITS if timestamp >= 0 else None


def age_seconds(truncated: int, now: int) -> float:
    """Return the age in seconds at `now` (ms since the epoch); correct up to 24 days, 0 for a time in the future."""
    age = (now - truncated) & _LOW_31_BITS
    return 0.0 if age > _LOW_31_BITS - MAX_CLOCK_SKEW_MS else age / 1000
