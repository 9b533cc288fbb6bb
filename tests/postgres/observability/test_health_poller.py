from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.kafka.consumer_group import Ownership
from els_stream.observability.health import Code
from els_stream.observability.health_poller import STALE_AFTER_SECONDS, HealthPoller
from els_stream.queries.stats import CLASS_TYPES, PENDING_KINDS, PurgeStats, Stats

EMPTY = Stats(
    active=dict.fromkeys(CLASS_TYPES, 0),
    completed=dict.fromkeys(CLASS_TYPES, 0),
    purged=dict.fromkeys(CLASS_TYPES, 0),
    dead_letters=dict.fromkeys(DeadLetterReason, 0),
    pending=dict.fromkeys(PENDING_KINDS, 0),
    pending_oldest_seconds=0,
    outbox_rows=0,
    outbox_deferred=0,
    outbox_oldest_seconds=0,
    purge=PurgeStats(running=False, batches=None, started_at=None, finished=False),
)


class HealthyGroup:
    async def describe(self) -> Ownership:
        return Ownership("Stable", frozenset(), frozenset())

    async def close(self) -> None: ...


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_poller(engine: AsyncEngine, clock: Clock | None = None) -> HealthPoller:
    return HealthPoller(engine, HealthyGroup(), member_id=lambda: None, stats_interval=5, clock=clock or Clock())


async def check(poller: HealthPoller) -> list[Code]:
    await poller.check_database()
    await poller.check_group()
    return [reason.code for reason in poller.reasons()]


async def test_a_current_database_is_no_reason(engine: AsyncEngine) -> None:
    assert await check(make_poller(engine)) == []


async def test_before_the_first_check_the_state_is_unknown(engine: AsyncEngine) -> None:
    assert {reason.code for reason in make_poller(engine).reasons()} == {Code.UNKNOWN}


async def test_an_outdated_database_is_a_reason_that_names_the_command_to_run(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("DELETE FROM els_schema_version"))
    poller = make_poller(engine)

    assert await check(poller) == [Code.SCHEMA]
    assert "els migrate" in poller.reasons()[0].detail


async def test_a_database_newer_than_the_code_is_no_reason(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE els_schema_version SET version_num = '9999'"))

    assert await check(make_poller(engine)) == []


async def test_an_unreachable_database_is_a_reason_without_its_address() -> None:
    engine = create_engine("postgresql+asyncpg://els:hunter2@127.0.0.1:1/els", Limits())
    poller = make_poller(engine)

    assert await check(poller) == [Code.DATABASE]
    assert "hunter2" not in poller.reasons()[0].detail


async def test_a_check_of_the_database_has_a_time_limit(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections of the pool are in use, so the check gets none."""
    monkeypatch.setattr("els_stream.observability.health_poller.DATABASE_TIMEOUT_SECONDS", 0.2)
    narrow = create_engine(database, Limits(), pool_size=1)
    async with narrow.connect(), asyncio.timeout(5):
        assert await check(make_poller(narrow)) == [Code.DATABASE]
    await narrow.dispose()


async def test_a_result_that_is_too_old_is_a_reason(engine: AsyncEngine) -> None:
    clock = Clock()
    poller = make_poller(engine, clock)
    assert await check(poller) == []

    clock.now += STALE_AFTER_SECONDS

    assert [reason.code for reason in poller.reasons()] == [Code.DATABASE, Code.BROKER]


async def test_stats_are_returned_with_their_age(engine: AsyncEngine) -> None:
    clock = Clock()
    poller = make_poller(engine, clock)
    assert poller.stats() is None

    await poller.read_stats()
    clock.now += 3

    assert poller.stats() == (EMPTY, 3)


async def test_stats_that_cannot_be_read_again_keep_aging(engine: AsyncEngine) -> None:
    clock = Clock()
    poller = make_poller(engine, clock)
    await poller.read_stats()
    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE purge_log RENAME TO elsewhere"))
    clock.now += 60

    await poller.read_stats()

    assert poller.stats() == (EMPTY, 60)


async def test_it_starts_and_stops_while_no_server_can_be_reached() -> None:
    poller = make_poller(create_engine("postgresql+asyncpg://els@127.0.0.1:1/els", Limits()))

    await poller.start()
    await poller.stop()
