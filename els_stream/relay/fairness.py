"""How relays divide the shares: no talk between them, each looks at what is held and does its part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from random import Random


@dataclass(frozen=True, slots=True)
class Division:
    """`take` may be lost to another relay that looked at the same time; `give` is surely ours."""

    take: frozenset[int]
    give: frozenset[int]


def divide(
    *, owned: AbstractSet[int], held: AbstractSet[int], all_shares: int, relays: int, chance: Random
) -> Division:
    """What one relay does when `held` are the shares that anyone holds and `relays` are alive, itself included.

    Each aims at a fair part, rounded up so that no share is left over. Which ones is drawn by chance, or relays that
    start together would reach for the same.
    """
    fair = -(-all_shares // max(relays, 1))
    free = sorted(set(range(all_shares)) - held - owned)
    room = max(fair - len(owned), 0)
    surplus = max(len(owned) - fair, 0)
    return Division(
        take=frozenset(chance.sample(free, min(room, len(free)))),
        give=frozenset(chance.sample(sorted(owned), surplus)),
    )
