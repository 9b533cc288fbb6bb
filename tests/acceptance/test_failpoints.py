"""A worker that crashes between any two effects that belong together loses and doubles nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from els_stream.demo.random_source import RandomSource
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.failpoints import CONFIRMATION_VARIABLE, CONFIRMED, EXIT_CODE, FAILPOINT_VARIABLE, Failpoint
from tests.support.demo_environment import DemoEnvironment

MIX = Mix(late=0.2, refused=0.05)
# Long enough to process what comes before a failpoint, on a busy machine.
MAX_WAIT_SECONDS = 60.0


# Reached only with events that the broker refuses; the relay's tests have it.
REACHED = [point for point in Failpoint if point is not Failpoint.AFTER_MOVE_ASIDE]


async def crash_at(env: DemoEnvironment, failpoints: Iterable[str]) -> None:
    for point in failpoints:
        worker = env.pool.start({FAILPOINT_VARIABLE: point, CONFIRMATION_VARIABLE: CONFIRMED})
        assert await env.pool.until_ended(worker, MAX_WAIT_SECONDS) == EXIT_CODE, point


async def test_a_crash_at_any_failpoint_loses_and_doubles_nothing(env: DemoEnvironment) -> None:
    traffic = make_traffic(seed=6, batches=48, largest=20, mix=MIX)
    env.pool.set(micro_batch_records=10, buffered_records_per_partition=100)
    await env.send(traffic.messages)

    await crash_at(env, REACHED)
    env.pool.start()
    await env.until_all_handled()

    assert await env.wrong(traffic) == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", [point for point in REACHED if point is not Failpoint.AFTER_OFFSETS_INITIALIZED])
async def test_repeated_crashes_at_one_failpoint_lose_and_double_nothing(
    env: DemoEnvironment, point: Failpoint
) -> None:
    rng = RandomSource(point)
    traffic = make_traffic(seed=7, batches=96, largest=20, mix=MIX)
    env.pool.set(micro_batch_records=10, buffered_records_per_partition=100)
    await env.send(traffic.messages)

    await crash_at(env, [f"{point}:{rng.randrange(4)}" for _ in range(4)])
    env.pool.start()
    await env.until_all_handled()

    assert await env.wrong(traffic) == []
