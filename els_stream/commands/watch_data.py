"""What `els watch` sees at one moment: of the service from the database, and of a worker where one answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.embedded.servers import addresses
from els_stream.queries.listing import BatchFilter, newest_batches
from els_stream.queries.stats import Stats, read_figures
from els_stream.web.auth import is_loopback
from els_stream.web.history import Sample, StatsHistory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.queries.dashboard import DashboardSnapshot
    from els_stream.queries.listing import BatchLine

READ_SECONDS: Final = 3.0
ASK_SECONDS: Final = 1.0
MOST_BATCHES: Final = 60
ANSWERED: Final = 200


@dataclass(frozen=True, slots=True)
class WatchData:
    """`trouble` says why the database did not answer; what is here then is of before. `status` is a worker's own."""

    figures: Stats | None
    batches: Sequence[BatchLine]
    glance: DashboardSnapshot | None
    steps: Sequence[Sample]
    url: str
    status: Mapping[str, Any] | None
    trouble: str | None

    @property
    def now(self) -> datetime | None:
        """By the database's clock."""
        return None if self.glance is None else self.glance.read_at


class WatchClient:
    def __init__(self, engine: AsyncEngine, group: str, url: str, http: aiohttp.ClientSession) -> None:
        self._engine = engine
        self._url = url
        self._http = http
        self._figures: Stats | None = None
        self._batches: Sequence[BatchLine] = ()
        self._glances = StatsHistory(engine, group, lambda: None if self._figures is None else (self._figures, 0.0))

    async def look(self) -> WatchData:
        trouble = await self._read()
        status = await self._ask("/api/status")
        history = None if status is None else await self._ask("/api/history")
        steps = list(self._glances.steps) if history is None else _steps(history)
        return WatchData(self._figures, self._batches, self._glances.last, steps, self._url, status, trouble)

    async def _read(self) -> str | None:
        try:
            async with asyncio.timeout(READ_SECONDS), self._engine.connect() as conn:
                self._figures = await read_figures(conn)
                self._batches = await newest_batches(conn, BatchFilter(), MOST_BATCHES)
        except DATABASE_ERRORS as error:
            return classify(error).cause
        await self._glances.look()
        return self._glances.trouble

    async def _ask(self, path: str) -> Mapping[str, Any] | None:
        try:
            async with self._http.get(self._url + path) as answer:
                body = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return body if answer.status == ANSWERED and isinstance(body, dict) else None


@asynccontextmanager
async def looker(settings: Settings, engine: AsyncEngine, url: str | None) -> AsyncIterator[WatchClient]:
    """Asks the worker at `url`, else the one that settings or `els servers` know, with the token if there is one."""
    token = settings.web_token
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    patience = aiohttp.ClientTimeout(total=ASK_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=patience) as http:
        yield WatchClient(engine, settings.consumer_group, (url or where(settings)).rstrip("/"), http)


def where(settings: Settings) -> str:
    found = addresses(settings)
    if found is not None and found.web is not None:
        return found.web
    host = settings.web_host if is_loopback(settings.web_host) else "127.0.0.1"
    return f"http://[{host}]:{settings.web_port}" if ":" in host else f"http://{host}:{settings.web_port}"


def _steps(history: Mapping[str, Any]) -> list[Sample]:
    names = ("intake_per_second", "completion_seconds", "outbox_oldest_seconds")
    return [Sample(*step) for step in zip(*(history[name] for name in names), strict=True)]
