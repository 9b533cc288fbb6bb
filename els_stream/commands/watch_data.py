"""Read the data of `els watch`: counts and batches from the database, and the state of a worker if one answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.embedded.state import StateFolder
from els_stream.queries.listing import BatchFilter, newest_batches
from els_stream.queries.stats import Stats, read_stats
from els_stream.web.auth import is_loopback
from els_stream.web.history import Sample, StatsHistory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.queries.dashboard import DashboardSnapshot
    from els_stream.queries.listing import BatchSummary

READ_TIMEOUT_SECONDS: Final = 3.0
WORKER_TIMEOUT_SECONDS: Final = 1.0
MAX_BATCHES: Final = 60
OK: Final = 200


@dataclass(frozen=True, slots=True)
class WatchData:
    """`error` says why the database did not answer; the other values are then the last ones read.

    `status` is the body of the worker's `/api/status`, None if no worker answers.
    """

    stats: Stats | None
    batches: Sequence[BatchSummary]
    snapshot: DashboardSnapshot | None
    samples: Sequence[Sample]
    url: str
    status: Mapping[str, Any] | None
    error: str | None

    @property
    def now(self) -> datetime | None:
        """Return the database's time of the snapshot."""
        return None if self.snapshot is None else self.snapshot.read_at


class WatchClient:
    """Reads the database through `engine`, and the worker at `url` through `http`."""

    def __init__(self, engine: AsyncEngine, group: str, url: str, http: aiohttp.ClientSession) -> None:
        self._engine = engine
        self._url = url
        self._http = http
        self._stats: Stats | None = None
        self._batches: Sequence[BatchSummary] = ()
        self._history = StatsHistory(engine, group, lambda: None if self._stats is None else (self._stats, 0.0))

    async def read(self) -> WatchData:
        """Read both. An outage does not raise: it leaves the last values, or no status of a worker."""
        error = await self._read_database()
        status = await self._get("/api/status")
        history = None if status is None else await self._get("/api/history")
        samples = list(self._history.samples) if history is None else _samples(history)
        return WatchData(self._stats, self._batches, self._history.last, samples, self._url, status, error)

    async def _read_database(self) -> str | None:
        """Return the error code if the database did not answer."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._engine.connect() as conn:
                self._stats = await read_stats(conn)
                self._batches = await newest_batches(conn, BatchFilter(), MAX_BATCHES)
        except DATABASE_ERRORS as error:
            return classify(error).cause
        await self._history.refresh()
        return self._history.error

    async def _get(self, path: str) -> Mapping[str, Any] | None:
        try:
            async with self._http.get(self._url + path) as response:
                body = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return body if response.status == OK and isinstance(body, dict) else None


@asynccontextmanager
async def watch_client(settings: Settings, engine: AsyncEngine, url: str | None) -> AsyncIterator[WatchClient]:
    """Open a client of the worker at `url`, or of the one that `els servers` or the settings name."""
    token = settings.current_secret("web_token")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=WORKER_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
        yield WatchClient(engine, settings.consumer_group, (url or default_url(settings)).rstrip("/"), http)


def default_url(settings: Settings) -> str:
    """Return the address of the first worker that `els servers` prints, else of a worker with these settings."""
    if (web := StateFolder(settings.state_dir).first_worker()) is not None:
        return web
    host = settings.web_host if is_loopback(settings.web_host) else "127.0.0.1"
    return f"http://[{host}]:{settings.web_port}" if ":" in host else f"http://{host}:{settings.web_port}"


def _samples(history: Mapping[str, Any]) -> list[Sample]:
    names = ("records_per_second", "completion_seconds", "outbox_oldest_seconds")
    return [Sample(*values) for values in zip(*(history[name] for name in names), strict=True)]
