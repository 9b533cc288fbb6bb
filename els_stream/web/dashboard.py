"""Assemble page, JSON API and middleware, on database connections of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp.web import Application
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.consumer.status import ConsumerStatus
from els_stream.db.engine import Limits, create_engine
from els_stream.maintenance.replay import Replayed
from els_stream.observability.health import Health
from els_stream.observability.health_poller import HealthPoller
from els_stream.relay.status import RelayStatus
from els_stream.web.api import Api
from els_stream.web.auth import Access
from els_stream.web.history import StatsHistory
from els_stream.web.middleware import install_middleware
from els_stream.web.snapshot import POOL_SIZE
from els_stream.web.static_files import add_static_files
from els_stream.web.status import Status


@dataclass(frozen=True, slots=True)
class DashboardSources:
    """The components whose state the dashboard shows. `relay` returns None in a worker without a relay."""

    health: Health
    poller: HealthPoller
    consumer: ConsumerStatus
    relay: Callable[[], RelayStatus | None]


class Replayer(Protocol):
    async def replay_one(self, dead_letter_id: int) -> Replayed: ...


class Dashboard:
    """The page, the JSON API and the middleware of one worker, with an engine and a history of their own.

    Raises ConfigurationError if the web host is not loopback and there is no token.
    """

    def __init__(
        self,
        settings: Settings,
        sources: DashboardSources,
        make_replayer: Callable[[AsyncEngine], Replayer],
    ) -> None:
        self._access = Access.of(settings)
        limits = Limits.from_settings(settings)
        self._engine = create_engine(lambda: settings.database, limits, pool_size=POOL_SIZE, name="els web")
        self._history = StatsHistory(self._engine, settings.consumer_group, sources.poller.stats)
        status = Status(
            health=sources.health,
            history=self._history,
            poller=sources.poller,
            lag=sources.consumer.lag,
            relay=sources.relay,
            retention={
                "enabled": settings.purge_enabled,
                "guest_days": settings.purge_retention_days,
                "interval_hours": settings.purge_interval_hours,
            },
        )
        self._api = Api(self._engine, self._history, status, make_replayer(self._engine).replay_one)

    def extend(self, app: Application) -> None:
        """Add middleware and routes to `app`, which must not run yet."""
        install_middleware(app, self._access)
        add_static_files(app)
        self._api.add_to(app)

    async def start(self) -> None:
        await self._history.start()

    async def stop(self) -> None:
        await self._history.stop()
        await self._engine.dispose()
