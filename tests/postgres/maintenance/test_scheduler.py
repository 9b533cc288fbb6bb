"""Rounds of timers: one worker at a time, one transaction per step, and no error ends a worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agents.delete_old_dead_letters import delete_old_dead_letters
from agents.expire_batches import expire_batches
from agents.expire_pending_events import expire_pending_events
from agents.repair_batches import repair_batches
from els_stream.config.settings import Settings
from els_stream.db.engine import Limits, create_engine
from els_stream.handlers.recount import RepairCounts
from els_stream.maintenance.scheduler import StepResult, TimerName, TimerPolicy, Timers, TimerStep, bounded
from tests.support.batch_harness import BatchHarness
from tests.support.clock_shift import DAY, GROUP, PREFIX, ClockShift, partitions
from tests.support.unsent_events import remove_events, unsent_events
from tests.support.waiting import until

TIMER = TimerName.EXPIRE_BATCHES
ONE_LOCK = text("SELECT pg_advisory_xact_lock(137)")


@dataclass
class Counts:
    done: Counter[TimerName] = field(default_factory=Counter)
    failures: Counter[TimerName] = field(default_factory=Counter)

    def timer_done(self, timer: TimerName, count: int) -> None:
        self.done[timer] += count

    def timer_failed(self, timer: TimerName) -> None:
        self.failures[timer] += 1


def timers(engine: AsyncEngine, counts: Counts | None = None, clock: ClockShift | None = None) -> Timers:
    """With `clock`, its partitions are those of the broker; without, no step of these tests asks the broker."""
    settings = Settings(
        broker_url="127.0.0.1:1",
        consumer_group=GROUP,
        topic_prefix=PREFIX,
        expiry_interval_seconds=0.1,
        repair_interval_seconds=0.1,
    )
    policy = TimerPolicy.from_settings(settings, RepairCounts())
    if clock is not None:
        policy = replace(policy, expiry=clock.policy)
    return Timers(engine, policy, counts or Counts())


def steps(*found: int) -> TimerStep:
    left = list(found)

    async def act(conn: AsyncConnection) -> int:
        await conn.execute(text("INSERT INTO ticks VALUES (1)"))
        return left.pop(0) if left else 0

    return bounded(act)


@pytest.fixture
async def ticking(harness: BatchHarness) -> BatchHarness:
    """A harness in which each step of `steps` adds a row."""
    await harness.execute("CREATE TABLE ticks (n int)")
    return harness


async def ticks(harness: BatchHarness) -> int:
    return len(await harness.rows("SELECT n FROM ticks"))


async def test_a_round_continues_while_there_is_more_and_counts(ticking: BatchHarness) -> None:
    counts = Counts()

    assert await timers(ticking.engine, counts).round(TIMER, steps(3, 3, 1)) == 7

    assert counts.done == {TIMER: 7}
    assert await ticks(ticking) == 4


async def test_while_one_worker_has_the_lock_another_does_nothing(ticking: BatchHarness) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: AsyncConnection) -> StepResult:
        inside.set()
        await go_on.wait()
        return StepResult(1, more=False)

    first = asyncio.create_task(timers(ticking.engine).round(TIMER, slow))
    await inside.wait()

    assert await timers(ticking.engine).round(TIMER, steps(5)) == 0
    assert await timers(ticking.engine).round(TimerName.REPAIR_BATCHES, steps(5)) == 5, "another timer has its own lock"
    go_on.set()
    assert await first == 1
    assert await timers(ticking.engine).round(TIMER, steps(5)) == 5


async def test_a_bug_in_a_step_is_logged_and_rolled_back_for_the_next_round(
    ticking: BatchHarness, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    worker = timers(ticking.engine, counts)

    async def failing(conn: AsyncConnection) -> StepResult:
        await steps(1)(conn)
        raise ZeroDivisionError("teachers / 0")

    assert await worker.round(TIMER, failing) == 0

    assert counts.failures == {TIMER: 1}
    assert "ZeroDivisionError" in caplog.text
    assert await ticks(ticking) == 0
    assert await worker.round(TIMER, steps(2)) == 2


async def test_a_database_that_is_away_does_not_end_a_timer() -> None:
    counts = Counts()
    away = create_engine("postgresql+asyncpg://els@127.0.0.1:1/els", Limits())

    assert await timers(away, counts).round(TIMER, steps(1)) == 0
    assert counts.failures == {TIMER: 1}


async def test_a_cancelled_timer_stops_at_once_and_rolls_its_step_back(ticking: BatchHarness) -> None:
    """The step waits for a lock that another session has."""
    inside = asyncio.Event()

    async def endless(conn: AsyncConnection) -> StepResult:
        await steps(1)(conn)
        inside.set()
        await conn.execute(ONE_LOCK)
        return StepResult(1, more=True)

    async with ticking.engine.begin() as other:
        await other.execute(ONE_LOCK)
        running = asyncio.create_task(timers(ticking.engine).run(TIMER, 1, endless))
        await inside.wait()
        running.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await running
    assert await ticks(ticking) == 0


async def test_a_timer_runs_again_after_its_interval_whatever_happened(harness: BatchHarness) -> None:
    third = asyncio.Event()
    rounds = count(1)

    async def failing(_: AsyncConnection) -> StepResult:
        if next(rounds) == 3:
            third.set()
        raise ZeroDivisionError

    running = asyncio.create_task(timers(harness.engine).run(TIMER, 0.01, failing))
    async with asyncio.timeout(5):
        await third.wait()
    running.cancel()


async def test_every_timer_does_its_own_work(harness: BatchHarness) -> None:
    """All of them run at the same time, as in a worker."""
    await harness.together(harness.registration("late", essays=2))
    await harness.together(harness.content(0, "late"))
    await harness.together(harness.content(0, "never-registered"), harness.content(0, "no-longer-there"))
    time = ClockShift(harness)
    await time.pass_(DAY * 8)
    await time.processed()
    await harness.execute("UPDATE batch_essay_trackers SET pending_count = 5 WHERE batch_id = 'no-longer-there'")
    counts = Counts()
    worker = timers(harness.engine, counts, time)
    all_of_them = (expire_batches, expire_pending_events, repair_batches, delete_old_dead_letters)
    running = [asyncio.create_task(timer(worker)) for timer in all_of_them]

    async def all_expired() -> bool:
        dead_letters = await harness.rows("SELECT id FROM dead_letters")
        return counts.done[TimerName.EXPIRE_BATCHES] == 1 and len(dead_letters) == 2

    await until(all_expired)
    await harness.execute("UPDATE dead_letters SET created_at = now() - interval '91 days'")
    async with harness.engine.begin() as conn:
        dead_letters = [row for row in await unsent_events(conn) if row.order_key.startswith("dead-letter:")]
        await remove_events(conn, dead_letters)

    async def all_deleted() -> bool:
        left = await harness.rows("SELECT id FROM dead_letters")
        return not left and counts.done[TimerName.DELETE_OLD_DEAD_LETTERS] == 2

    await until(all_deleted)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert await harness.kinds("late") == ["assigned", "timeout"]
    assert [row[0] for row in await harness.rows("SELECT batch_id FROM batch_essay_trackers")] == ["late"]
    assert counts.done[TimerName.REPAIR_BATCHES] == 1


async def test_while_the_broker_does_not_answer_nothing_expires_and_it_is_logged(
    harness: BatchHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await harness.together(harness.registration())
    clock = ClockShift(harness)
    await clock.pass_(DAY * 8)
    await clock.processed()
    clock.broker = None
    counts = Counts()
    running = asyncio.create_task(expire_batches(timers(harness.engine, counts, clock)))

    async def has_failed_twice() -> bool:
        return counts.failures[TIMER] >= 2

    await until(has_failed_twice)
    assert "expire_batches: the broker does not answer; retried in the next round" in caplog.text
    assert counts.done[TIMER] == 0
    clock.broker = partitions()

    async def has_expired() -> bool:
        return counts.done[TIMER] == 1

    await until(has_expired)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await harness.kinds() == ["timeout"]
