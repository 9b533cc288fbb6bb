"""The scheduler of the timers: every worker runs all of them, and a lock lets one worker at a time do each.

A round is a series of bounded steps of one transaction each. No state is kept between rounds, so a worker may end at
any moment and another one goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Final, Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.config.settings import Settings
from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.domain.claim_strategy import Strategy
from els_stream.errors import ServersUnavailable
from els_stream.handlers.recount import RepairCounts
from els_stream.maintenance.expiry import ExpiryPolicy
from els_stream.maintenance.purge import Retention
from els_stream.queries import timer_lock
from els_stream.tasks import run_every

log = logging.getLogger(__name__)

# Workers that started at the same moment do not run their rounds at the same moments.
JITTER: Final = 0.2
# The purge log says whether a purge is due, so restarts neither skip nor repeat one. The timer reads it this often.
RETENTION_POLL_INTERVAL_SECONDS: Final = 60.0


class TimerName(StrEnum):
    """The timers: each is a module of `agents` and a label value of the metrics."""

    EXPIRE_BATCHES = "expire_batches"
    EXPIRE_PENDING_EVENTS = "expire_pending_events"
    REPAIR_BATCHES = "repair_batches"
    DELETE_OLD_DEAD_LETTERS = "delete_old_dead_letters"
    PURGE_GUESTS = "purge_guests"
    COMPACT_COUNTS = "compact_counts"


@dataclass(frozen=True, slots=True)
class StepResult:
    """The number of items that one step processed, and whether another step may find more."""

    done: int
    more: bool


TimerStep: TypeAlias = Callable[[AsyncConnection], Awaitable[StepResult]]
PrepareStep: TypeAlias = Callable[[], Awaitable[TimerStep]]


class TimerMetrics(Protocol):
    def timer_done(self, timer: TimerName, count: int) -> None: ...
    def timer_failed(self, timer: TimerName) -> None: ...


@dataclass(frozen=True, slots=True)
class TimerPolicy:
    """Intervals and limits of all timers. `repairs` counts what the repair timer finds."""

    expiry: ExpiryPolicy
    expiry_seconds: float
    strategy: Strategy
    repairs: RepairCounts
    repair_seconds: float
    dead_letter_retention: timedelta
    retention: Retention
    retention_seconds: float

    @classmethod
    def from_settings(cls, settings: Settings, repairs: RepairCounts) -> TimerPolicy:
        return cls(
            expiry=ExpiryPolicy.from_settings(settings),
            expiry_seconds=settings.expiry_interval_seconds,
            strategy=settings.strategy,
            repairs=repairs,
            repair_seconds=settings.repair_interval_seconds,
            dead_letter_retention=timedelta(days=settings.dead_letter_retention_days),
            retention=Retention.from_settings(settings),
            retention_seconds=min(RETENTION_POLL_INTERVAL_SECONDS, settings.purge_interval_hours * 3600),
        )


class Timers:
    """Runs the rounds of timers on one engine and counts them."""

    def __init__(self, engine: AsyncEngine, policy: TimerPolicy, metrics: TimerMetrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self.policy = policy

    async def run(self, timer: TimerName, seconds: float, step: TimerStep) -> None:
        """Run a round about every `seconds` until cancelled, which rolls back the open step. Errors do not end it."""
        await run_every(seconds, partial(self.round, timer, step), jitter=JITTER)

    async def run_prepared(self, timer: TimerName, seconds: float, prepare: PrepareStep) -> None:
        """Run rounds like `run`; `prepare` makes each step before its transaction, from data of a server."""
        await run_every(seconds, partial(self.round_prepared, timer, prepare), jitter=JITTER)

    async def run_whole(self, timer: TimerName, seconds: float, act: Callable[[AsyncEngine], Awaitable[int]]) -> None:
        """Call `act` in rounds like `run`; it opens its own transactions and takes its own lock."""
        await run_every(seconds, partial(self._round_whole, timer, act), jitter=JITTER)

    async def round(self, timer: TimerName, step: TimerStep) -> int:
        """Run steps until one finds no more, unless another worker has the lock; return the number of items.

        An error is logged and counted; the next round tries again.
        """

        async def prepared() -> TimerStep:
            return step

        return await self.round_prepared(timer, prepared)

    async def round_prepared(self, timer: TimerName, prepare: PrepareStep) -> int:
        """Run steps like `round`; `prepare` makes each step before its transaction."""
        total = 0
        with self._errors_logged(timer):
            while (result := await self._once(timer, await prepare())).more:
                total += result.done
            total += result.done
        return total

    async def _round_whole(self, timer: TimerName, act: Callable[[AsyncEngine], Awaitable[int]]) -> None:
        with self._errors_logged(timer):
            self._count(timer, await act(self._engine))

    @contextmanager
    def _errors_logged(self, timer: TimerName) -> Iterator[None]:
        try:
            yield
        except DATABASE_ERRORS as error:
            self._metrics.timer_failed(timer)
            failure = classify(error)
            log.warning("%s: %s (%s); retried in the next round", timer, failure.failure_class, failure.cause)
        except ServersUnavailable as error:
            self._metrics.timer_failed(timer)
            log.warning("%s: %s; retried in the next round", timer, error)
        except Exception:  # a bug must not end the worker; it is logged in each round
            self._metrics.timer_failed(timer)
            log.exception("%s: unexpected error", timer)

    async def _once(self, timer: TimerName, step: TimerStep) -> StepResult:
        async with self._engine.begin() as conn:
            if not await timer_lock.try_lock(conn, timer):
                return StepResult(0, more=False)
            result = await step(conn)
        self._count(timer, result.done)
        return result

    def _count(self, timer: TimerName, done: int) -> None:
        if done:
            self._metrics.timer_done(timer, done)
            log.info("%s: %d", timer, done)


def bounded(act: Callable[[AsyncConnection], Awaitable[int]]) -> TimerStep:
    """Make a step of a function that returns how many items it processed: there may be more until it returns 0."""

    async def step(conn: AsyncConnection) -> StepResult:
        done = await act(conn)
        return StepResult(done, more=done > 0)

    return step
