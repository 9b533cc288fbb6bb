"""The only source of random values: the same seed makes the same demo."""

from __future__ import annotations

from random import Random
from uuid import UUID


class RandomSource(Random):
    """A seeded generator with the methods that the demo needs."""

    def uuid(self) -> UUID:
        return UUID(int=self.getrandbits(128), version=4)

    def some_of(self, count: int, low: float, high: float) -> list[float]:
        """Return `count` numbers between `low` and `high`, unsorted."""
        return [self.uniform(low, high) for _ in range(count)]
