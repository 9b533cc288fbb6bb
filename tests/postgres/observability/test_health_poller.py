from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from els_stream.db.engine import Limits, create_engine
from els_stream.kafka.consumer_group import Ownership
from els_stream.observability.health import Code
from els_stream.observability.health_poller import STALE_SECONDS, HealthPoller
from els_stream.observability.metrics import Metrics


class QuietGroup:
    async def describe(self) -> Ownership:
        return Ownership("Stable", frozenset(), frozenset())

    async def close(self) -> None: ...


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), {})


def watching(engine: AsyncEngine, metrics: Metrics, clock: Clock | None = None) -> HealthPoller:
    return HealthPoller(engine, QuietGroup(), metrics, figures_seconds=5, clock=clock or Clock())


async def look(watch: HealthPoller) -> list[Code]:
    await watch.look_at_database()
    await watch.look_at_group()
    return [reason.code for reason in watch.reasons()]


async def test_a_current_database_is_no_reason(engine: AsyncEngine, metrics: Metrics) -> None:
    assert await look(watching(engine, metrics)) == []


async def test_before_the_first_look_nothing_is_known(engine: AsyncEngine, metrics: Metrics) -> None:
    assert {reason.code for reason in watching(engine, metrics).reasons()} == {Code.UNKNOWN}


async def test_a_database_older_than_the_code_is_told_with_the_command_that_helps(
    engine: AsyncEngine, metrics: Metrics
) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("DELETE FROM alembic_version"))
    watch = watching(engine, metrics)

    assert await look(watch) == [Code.SCHEMA]
    assert "els migrate" in watch.reasons()[0].detail


async def test_a_database_newer_than_the_code_is_no_reason(engine: AsyncEngine, metrics: Metrics) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    assert await look(watching(engine, metrics)) == []


async def test_a_database_that_is_away_is_told_without_its_address(metrics: Metrics) -> None:
    engine = create_engine("postgresql+asyncpg://els:hunter2@127.0.0.1:1/els", Limits())
    watch = watching(engine, metrics)

    assert await look(watch) == [Code.DATABASE]
    assert "hunter2" not in watch.reasons()[0].detail


async def test_a_database_that_does_not_answer_is_noticed_in_time(
    engine: AsyncEngine, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections of the pool are busy: as good as away for whoever needs one."""
    monkeypatch.setattr("els_stream.observability.health_poller.DATABASE_SECONDS", 0.2)
    narrow = create_async_engine(engine.url, pool_size=1, max_overflow=0)
    async with narrow.connect(), asyncio.timeout(5):
        assert await look(watching(narrow, metrics)) == [Code.DATABASE]
    await narrow.dispose()


async def test_an_answer_that_is_too_old_is_none(engine: AsyncEngine, metrics: Metrics) -> None:
    clock = Clock()
    watch = watching(engine, metrics, clock)
    assert await look(watch) == []

    clock.now += STALE_SECONDS

    assert [reason.code for reason in watch.reasons()] == [Code.DATABASE, Code.BROKER]


async def test_figures_reach_the_metrics(engine: AsyncEngine, metrics: Metrics) -> None:
    await watching(engine, metrics).read_figures()

    assert metrics.registry.get_sample_value("huleedu_batches_active", {"class_type": "GUEST"}) == 0


async def test_figures_that_cannot_be_read_leave_the_last_ones_to_grow_old(
    engine: AsyncEngine, metrics: Metrics
) -> None:
    watch = watching(engine, metrics)
    await watch.read_figures()
    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE purge_log RENAME TO elsewhere"))

    await watch.read_figures()

    assert metrics.registry.get_sample_value("huleedu_batches_active", {"class_type": "GUEST"}) == 0


async def test_it_starts_at_once_and_stops_whatever_is_away(metrics: Metrics) -> None:
    watch = watching(create_engine("postgresql+asyncpg://els@127.0.0.1:1/els", Limits()), metrics)

    await watch.start()
    await watch.stop()
