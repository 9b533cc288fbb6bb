"""Exponential backoff with full jitter: many workers that failed together do not come back together."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses grow from `initial` to at most `longest` seconds, each drawn evenly from zero to its bound."""

    initial: float
    longest: float
    draw: Callable[[], float] = random.random

    def bound(self, attempt: int) -> float:
        """`attempt` counts from 1."""
        return min(self.longest, self.initial * 2.0 ** min(attempt - 1, 60))

    def pause(self, attempt: int) -> float:
        return self.bound(attempt) * self.draw()

    def steady(self, attempt: int) -> float:
        """At least half of the bound: for holds, where coming back at once would only burn the database."""
        return self.bound(attempt) * (0.5 + self.draw() / 2)
