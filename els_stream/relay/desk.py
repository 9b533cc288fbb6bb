"""Where passes begin and end: fetches waiting rows of idle shares, and writes back what became of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from els_stream.relay.supervision import Backoff
from els_stream.statements import outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.relay.health import Health
    from els_stream.relay.options import RelayOptions
    from els_stream.relay.shares import Shares, Tenure
    from els_stream.statements.outbox import HeldRow, WaitingRow

DATABASE_TROUBLE: Final = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Work:
    """Each share's rows in order; the shares are busy until the work is finished."""

    tenure: Tenure
    rows: Sequence[WaitingRow]

    @property
    def shares(self) -> frozenset[int]:
        return frozenset(row.share for row in self.rows)


class Desk:
    """Serves one lane at a time with work, so that while one waits for acks another fetches."""

    def __init__(self, engine: AsyncEngine, shares: Shares, options: RelayOptions, health: Health) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._shares = shares
        self._options = options
        self._health = health
        self._turn = asyncio.Lock()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._first_share = 0

    def wake(self) -> None:
        self._woken.set()

    async def next_work(self, *, on_idle: Callable[[], None]) -> Work:
        """Waits until something can be sent, and says so when there is nothing."""
        async with self._turn:
            while True:
                self._woken.clear()
                work = await self._look()
                if work.rows:
                    self._health.in_flight += len(work.rows)
                    self._idle.clear()
                    return work
                on_idle()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._options.poll_seconds):
                        await self._woken.wait()

    async def write_back(self, acked: Sequence[WaitingRow], held: Sequence[HeldRow]) -> None:
        """Tries until the database takes it: what is acked and not deleted would be sent again."""
        backoff = Backoff(self._options.retry_initial_seconds, self._options.retry_max_seconds)
        while True:
            try:
                await self._write(acked, held)
            except DATABASE_TROUBLE as error:
                self._health.trouble("database", error)
                await asyncio.sleep(backoff.next())
            else:
                self._health.fine("database")
                return

    def finish(self, work: Work) -> None:
        """Whatever of it is left in the outbox may be fetched again."""
        self._health.in_flight -= len(work.rows)
        if not self._health.in_flight:
            self._idle.set()
        self._shares.check_in(work.tenure, work.shares)
        # Rows of these shares may have come, or been left by a limit, while nobody looked.
        self.wake()

    async def all_finished(self, seconds: float) -> None:
        """Waits until no work is out, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _look(self) -> Work:
        # Busy before the look: a share given away in the middle of it would be fetched by two.
        tenure = self._shares.check_out()
        work = Work(tenure, ())
        try:
            if tenure.shares:
                work = Work(tenure, await self._fetch(tenure))
        finally:
            self._shares.check_in(tenure, tenure.shares - work.shares)
        return work

    async def _fetch(self, tenure: Tenure) -> Sequence[WaitingRow]:
        """Begins behind the share that was served last, so that a long one can't keep the others waiting."""
        turns = sorted(tenure.shares, key=lambda share: (share - self._first_share) % outbox.SHARES)
        async with self._engine.connect() as conn:
            rows = await outbox.fetch(conn, turns, rows=self._options.fetch_rows, size=self._options.fetch_bytes)
        self._health.fine("database")
        if rows:
            self._first_share = rows[-1].share + 1
        return rows

    async def _write(self, acked: Sequence[WaitingRow], held: Sequence[HeldRow]) -> None:
        async with self._engine.connect() as conn:
            if acked:
                await outbox.delete(conn, acked)
            if held:
                shortest = timedelta(seconds=self._options.hold_initial_seconds)
                longest = timedelta(seconds=self._options.hold_max_seconds)
                await outbox.hold(conn, held, shortest=shortest, longest=longest)
