"""How relays divide the shards: each one reads who owns what and changes its own shards; they do not communicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet
    from random import Random


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Shards to acquire, which another relay may take first, and own shards to release."""

    acquire: frozenset[int]
    release: frozenset[int]


def rebalance(
    shards: Collection[int], *, owned: AbstractSet[int], taken: AbstractSet[int], members: int, rng: Random
) -> Rebalance:
    """Return the changes of one relay to its shards among `shards`.

    `owned` are its own shards, `taken` those that any relay owns, and `members` counts the living relays with itself.
    Each relay aims at an equal number, rounded up so that every shard has an owner. It draws the shards at random,
    otherwise relays that start together would try to acquire the same ones.
    """
    ours = owned & set(shards)
    target = -(-len(shards) // max(members, 1))
    free = sorted(set(shards) - taken - owned)
    missing = max(target - len(ours), 0)
    surplus = max(len(ours) - target, 0)
    return Rebalance(
        acquire=frozenset(rng.sample(free, min(missing, len(free)))),
        release=frozenset(rng.sample(sorted(ours), surplus)),
    )
