from random import Random, SystemRandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from els_stream.relay.shard_rebalance import rebalance

SHARES = range(64)


def rounds(relays: list[set[int]], rng: Random, count: int = 6) -> None:
    """Each relay looks and acts in turn, as they do in the end: the database lets only one take a shard."""
    for _ in range(count):
        for owned in relays:
            taken = set[int]().union(*relays)
            change = rebalance(SHARES, owned=owned, taken=taken, members=len(relays), rng=rng)
            owned.difference_update(change.release)
            owned.update(change.acquire)


def assert_each_share_has_one_owner(relays: list[set[int]]) -> None:
    assert sorted(shard for owned in relays for shard in owned) == list(SHARES)


@pytest.mark.parametrize(("relays", "parts"), [(1, [64]), (2, [32, 32]), (3, [20, 22, 22]), (5, [12, 13, 13, 13, 13])])
def test_relays_that_start_together_get_fair_parts(relays: int, parts: list[int]) -> None:
    owned = [set[int]() for _ in range(relays)]

    rounds(owned, SystemRandom())

    assert_each_share_has_one_owner(owned)
    assert sorted(map(len, owned)) == parts


def test_more_relays_than_shares_leave_some_without() -> None:
    owned = [set[int]() for _ in range(70)]

    rounds(owned, SystemRandom())

    assert_each_share_has_one_owner(owned)
    assert max(map(len, owned)) == 1


@given(rng=st.randoms(), joining=st.integers(1, 6), leaving=st.integers(0, 5))
def test_after_joins_and_deaths_everything_is_owned_and_nobody_has_too_much(
    rng: Random, joining: int, leaving: int
) -> None:
    relays: list[set[int]] = [set(SHARES)]
    relays += [set() for _ in range(joining)]
    rounds(relays, rng)
    relays = relays[min(leaving, joining) :]
    rounds(relays, rng)

    assert_each_share_has_one_owner(relays)
    assert max(map(len, relays)) <= -(-len(SHARES) // len(relays))


def test_one_who_has_a_fair_part_touches_nothing() -> None:
    change = rebalance(SHARES, owned=set(range(32)), taken=set(SHARES), members=2, rng=SystemRandom())

    assert (change.acquire, change.release) == (frozenset(), frozenset())
