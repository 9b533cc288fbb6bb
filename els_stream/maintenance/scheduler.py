"""What runs by the clock: in every worker, by one at a time, in bounded steps of one transaction each.

Nothing is kept between two rounds, so a worker may end at any moment, and whichever is there goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.config.settings import Settings
from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.handlers.recount import RepairCounts
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.expiry import ExpiryPolicy
from els_stream.maintenance.purge import Retention
from els_stream.maintenance.repair import RepairScan
from els_stream.queries import timer_lock

log = logging.getLogger(__name__)

# Workers that started together do not all come at once.
SPREAD: Final = 0.2
# Whether a purge is due is in its log, so that restarts neither skip nor repeat one; this long between two looks.
RETENTION_LOOK_SECONDS: Final = 60.0


class TimerName(StrEnum):
    """A closed set, for counting; each is an agent's file."""

    EXPIRE_BATCHES = "expire_batches"
    GIVE_UP_PARKED = "give_up_parked"
    HEAL_BATCHES = "heal_batches"
    FORGET_DEAD_LETTERS = "forget_dead_letters"
    PURGE_GUESTS = "purge_guests"
    FOLD_COUNTS = "fold_counts"


@dataclass(frozen=True, slots=True)
class StepResult:
    """Of one step: how much was `done`, and whether another step may find `more`."""

    done: int
    more: bool


TimerStep: TypeAlias = Callable[[AsyncConnection], Awaitable[StepResult]]


class TimerMetrics(Protocol):
    def timer_done(self, timer: TimerName, count: int) -> None: ...
    def timer_failed(self, timer: TimerName) -> None: ...


@dataclass(frozen=True, slots=True)
class TimerPolicy:
    expiry: ExpiryPolicy
    expiry_seconds: float
    sweep: RepairScan
    sweep_seconds: float
    dead_letter_retention: timedelta
    retention: Retention
    retention_seconds: float


def timer_policy(
    settings: Settings, heals: RepairCounts, partitions: Callable[[], Collection[Partition]]
) -> TimerPolicy:
    """`partitions` are those that the broker has of the input topics."""
    return TimerPolicy(
        expiry=ExpiryPolicy(
            settings.consumer_group,
            settings.topic_prefix,
            timedelta(days=settings.pending_retention_days),
            partitions,
        ),
        expiry_seconds=settings.expiry_interval_seconds,
        sweep=RepairScan(settings.strategy, heals),
        sweep_seconds=settings.repair_interval_seconds,
        dead_letter_retention=timedelta(days=settings.dead_letter_retention_days),
        retention=retention(settings),
        retention_seconds=min(RETENTION_LOOK_SECONDS, settings.purge_interval_hours * 3600),
    )


def retention(settings: Settings) -> Retention:
    return Retention(
        enabled=settings.purge_enabled,
        guest_days=settings.purge_retention_days,
        abandoned_days=settings.purge_abandoned_after_days,
        tombstone_days=settings.tombstone_retention_days,
        every=timedelta(hours=settings.purge_interval_hours),
        chunk=settings.purge_chunk_batches,
        pause_seconds=settings.purge_pause_seconds,
    )


class Timers:
    def __init__(self, engine: AsyncEngine, policy: TimerPolicy, reports: TimerMetrics) -> None:
        self._engine = engine
        self._reports = reports
        self.policy = policy
        self._spread = random.SystemRandom()

    async def run(self, timer: TimerName, seconds: float, step: TimerStep) -> None:
        """A round about every `seconds`, until cancelled; what is open then is rolled back. Never raises."""
        while True:
            await self.round(timer, step)
            await asyncio.sleep(seconds * self._spread.uniform(1 - SPREAD, 1 + SPREAD))

    async def round(self, timer: TimerName, step: TimerStep) -> int:
        """Steps while there is more, as long as no other worker is at it. What fails is told and left for later."""
        total = 0
        with self._failures_told(timer):
            while (progress := await self._once(timer, step)).more:
                total += progress.done
            total += progress.done
        return total

    async def run_whole(self, timer: TimerName, seconds: float, act: Callable[[AsyncEngine], Awaitable[int]]) -> None:
        """As `run`, for what has transactions of its own and sees to it that only one worker is at it."""
        while True:
            with self._failures_told(timer):
                self._tell(timer, await act(self._engine))
            await asyncio.sleep(seconds * self._spread.uniform(1 - SPREAD, 1 + SPREAD))

    @contextmanager
    def _failures_told(self, timer: TimerName) -> Iterator[None]:
        try:
            yield
        except DATABASE_ERRORS as error:
            self._reports.timer_failed(timer)
            failure = classify(error)
            log.warning("%s: %s (%s); tried again later", timer, failure.failure_class, failure.cause)
        except Exception:  # a bug must not end the worker; it is told at each round
            self._reports.timer_failed(timer)
            log.exception("%s: unforeseen", timer)

    async def _once(self, timer: TimerName, step: TimerStep) -> StepResult:
        async with self._engine.begin() as conn:
            if not await timer_lock.try_lock(conn, timer):
                return StepResult(0, more=False)
            progress = await step(conn)
        self._tell(timer, progress.done)
        return progress

    def _tell(self, timer: TimerName, done: int) -> None:
        if done:
            self._reports.timer_done(timer, done)
            log.info("%s: %d", timer, done)


def bounded(act: Callable[[AsyncConnection], Awaitable[int]]) -> TimerStep:
    """A step of what says how much it did: there may be more until it finds nothing."""

    async def step(conn: AsyncConnection) -> StepResult:
        done = await act(conn)
        return StepResult(done, more=done > 0)

    return step
