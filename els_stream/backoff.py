"""Exponential backoff with jitter, so that workers that failed together do not retry together."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `initial` up to `longest` seconds; `draw` returns a random number from 0 up to 1."""

    initial: float
    longest: float
    draw: Callable[[], float] = random.random

    def bound(self, attempt: int) -> float:
        """Return the longest delay of this attempt in seconds; attempts count from 1."""
        return min(self.longest, self.initial * 2.0 ** min(attempt - 1, 60))

    def full_jitter(self, attempt: int) -> float:
        """Return a delay between zero and the bound."""
        return self.bound(attempt) * self.draw()

    def equal_jitter(self, attempt: int) -> float:
        """Return a delay between half of the bound and the bound, for where an immediate retry is useless load."""
        return self.bound(attempt) * (0.5 + self.draw() / 2)
