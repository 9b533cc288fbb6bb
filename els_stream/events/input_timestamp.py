"""The age of an input record when what it caused leaves: an outbox row spends four bytes on it, and so 31 bits."""

from __future__ import annotations

from typing import Final

_BITS: Final = 0x7FFF_FFFF
# How far a producer's clock may be ahead of ours.
_AHEAD: Final = 3_600_000


def stamp_of(timestamp: int) -> int | None:
    """What to keep of a record's timestamp, in milliseconds; None for a record without one."""
    return timestamp & _BITS if timestamp >= 0 else None


def age_seconds(stamp: int, now: int) -> float:
    """Right up to 24 days; `now` in milliseconds. What comes from the future is new."""
    age = (now - stamp) & _BITS
    return 0.0 if age > _BITS - _AHEAD else age / 1000
