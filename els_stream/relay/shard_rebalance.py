"""How relays divide the shards: no talk between them, each looks at what is held and does its part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet
    from random import Random


@dataclass(frozen=True, slots=True)
class Rebalance:
    """`take` may be lost to another relay that looked at the same time; `give` is surely ours."""

    take: frozenset[int]
    give: frozenset[int]


def divide(
    shards: Collection[int], *, owned: AbstractSet[int], held: AbstractSet[int], relays: int, chance: Random
) -> Rebalance:
    """What one relay does with `shards` when anyone holds those in `held`, and `relays` are alive, itself included.

    Each aims at a fair part, rounded up so that no shard is left over. Which ones is drawn by chance, or relays that
    start together would reach for the same.
    """
    ours = owned & set(shards)
    fair = -(-len(shards) // max(relays, 1))
    free = sorted(set(shards) - held - owned)
    room = max(fair - len(ours), 0)
    surplus = max(len(ours) - fair, 0)
    return Rebalance(
        take=frozenset(chance.sample(free, min(room, len(free)))),
        give=frozenset(chance.sample(sorted(ours), surplus)),
    )
