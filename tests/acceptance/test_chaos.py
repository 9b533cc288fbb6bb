"""Workers and servers fail while traffic is processed; the result must be correct. A seed repeats a run."""

from __future__ import annotations

import pytest

from els_stream.embedded.servers import EmbeddedServers
from tests.acceptance.chaos import chaos, run_alone, run_cluster
from tests.support.chaos_plan import Plan
from tests.support.demo_environment import DemoEnvironment
from tests.support.faults import Faults
from tests.support.paths import reachable_folder

SHORT = (
    Plan(seed=3, batches=48, largest=30, workers=1, kills=4, in_flight=1, micro_batch=20),
    Plan(seed=4, batches=48, largest=30, workers=2, kills=3, restarts=1, in_flight=2, micro_batch=20),
    Plan(seed=5, batches=48, largest=30, workers=2, kills=1, broker_restarts=1, in_flight=2, micro_batch=20),
    Plan(seed=6, batches=48, largest=30, workers=2, kills=1, upstream=70, raised=1, expired=1, recreated=1),
)
SHORT_IDS = ("one worker killed", "and PostgreSQL restarted", "and Kafka restarted", "other producers, changed topics")
LONG = (
    Plan(seed=1, batches=700, workers=1, kills=20),
    Plan(seed=2, batches=5040, workers=2, kills=50, restarts=5),
    *(
        Plan(
            seed=10 * workers + in_flight,
            batches=300,
            workers=workers,
            kills=3,
            replacements=4,
            freezes=3,
            restarts=2,
            broker_restarts=1,
            in_flight=in_flight,
            micro_batch=50,
        )
        for workers in (2, 3, 4)
        for in_flight in (1, 2)
    ),
)

CLOCK_STEPS = Plan(seed=12, batches=60, largest=30, workers=2, kills=1, clock_steps=5)
CLUSTER = Plan(
    seed=6,
    batches=150,
    largest=30,
    workers=2,
    relays=1,
    kills=2,
    cuts=1,
    half_open=2,
    cluster=1,
    broker_kills=1,
    majority_losses=1,
    low_isr=1,
    leaderless=1,
    failovers=2,
    standby_losses=1,
)


async def assert_correct(plan: Plan, env: DemoEnvironment, servers: EmbeddedServers) -> None:
    result = await chaos(plan, env, lambda rng: Faults(env, servers, rng))

    assert result.wrong == [], str(result)


@pytest.mark.parametrize("plan", SHORT, ids=SHORT_IDS)
async def test_the_result_is_correct_after_kills_and_restarts(
    plan: Plan, env: DemoEnvironment, servers: EmbeddedServers
) -> None:
    await assert_correct(plan, env, servers)


async def test_the_result_is_correct_after_steps_of_the_database_clock() -> None:
    with reachable_folder() as folder:
        result = await run_alone(CLOCK_STEPS, folder)

    assert result.wrong == [], str(result)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("plan", LONG, ids=lambda plan: f"seed_{plan.seed}")
async def test_the_result_is_correct_after_many_faults(
    plan: Plan, env: DemoEnvironment, servers: EmbeddedServers
) -> None:
    await assert_correct(plan, env, servers)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_the_result_is_correct_after_faults_of_clusters() -> None:
    with reachable_folder() as folder:
        result = await run_cluster(CLUSTER, folder)

    assert result.wrong == [], str(result)
