from random import Random, SystemRandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from els_stream.relay.shard_rebalance import rebalance

SHARDS = range(64)


def rounds(relays: list[set[int]], rng: Random, count: int = 6) -> None:
    """Let the relays act in turn; in PostgreSQL only one of them can acquire a shard as well."""
    for _ in range(count):
        for owned in relays:
            taken = set[int]().union(*relays)
            change = rebalance(SHARDS, owned=owned, taken=taken, members=len(relays), rng=rng)
            owned.difference_update(change.release)
            owned.update(change.acquire)


def assert_each_shard_has_one_owner(relays: list[set[int]]) -> None:
    assert sorted(shard for owned in relays for shard in owned) == list(SHARDS)


@pytest.mark.parametrize(("relays", "counts"), [(1, [64]), (2, [32, 32]), (3, [20, 22, 22]), (5, [12, 13, 13, 13, 13])])
def test_relays_that_start_together_get_equal_numbers_of_shards(relays: int, counts: list[int]) -> None:
    owned = [set[int]() for _ in range(relays)]

    rounds(owned, SystemRandom())

    assert_each_shard_has_one_owner(owned)
    assert sorted(map(len, owned)) == counts


def test_some_of_more_relays_than_shards_get_none() -> None:
    owned = [set[int]() for _ in range(70)]

    rounds(owned, SystemRandom())

    assert_each_shard_has_one_owner(owned)
    assert max(map(len, owned)) == 1


@given(rng=st.randoms(), joining=st.integers(1, 6), leaving=st.integers(0, 5))
def test_all_shards_are_owned_fairly_after_relays_join_and_leave(rng: Random, joining: int, leaving: int) -> None:
    relays: list[set[int]] = [set(SHARDS)]
    relays += [set() for _ in range(joining)]
    rounds(relays, rng)
    relays = relays[min(leaving, joining) :]
    rounds(relays, rng)

    assert_each_shard_has_one_owner(relays)
    assert max(map(len, relays)) <= -(-len(SHARDS) // len(relays))


def test_a_relay_with_its_fair_number_changes_nothing() -> None:
    change = rebalance(SHARDS, owned=set(range(32)), taken=set(SHARDS), members=2, rng=SystemRandom())

    assert (change.acquire, change.release) == (frozenset(), frozenset())
