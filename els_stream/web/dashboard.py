"""Page, JSON and their shield, wired: on connections of their own, beside whatever the worker does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp.web import Application
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.consumer.status import ConsumerStatus
from els_stream.db.engine import create_engine, limits_of
from els_stream.maintenance.replay import Replayed
from els_stream.observability.health import Health
from els_stream.observability.health_poller import HealthPoller
from els_stream.relay.service import RelayStatus
from els_stream.web.api import Api
from els_stream.web.auth import Access
from els_stream.web.history import StatsHistory
from els_stream.web.middleware import shield
from els_stream.web.snapshot import CONNECTIONS
from els_stream.web.static_files import add_pages
from els_stream.web.status import Status


@dataclass(frozen=True, slots=True)
class DashboardSources:
    """Whom the page asks. `relay` answers None in a worker without one."""

    health: Health
    watch: HealthPoller
    intake: ConsumerStatus
    relay: Callable[[], RelayStatus | None]


class Replayer(Protocol):
    async def replay_one(self, dead_letter_id: int) -> Replayed: ...


class Dashboard:
    """Between `start` and `stop`. Raises ConfigurationError for a worker beyond loopback without a token."""

    def __init__(
        self,
        settings: Settings,
        sources: DashboardSources,
        replays: Callable[[AsyncEngine], Replayer],
    ) -> None:
        self._access = Access.of(settings)
        self._engine = create_engine(settings.database, limits_of(settings), pool_size=CONNECTIONS, name="els web")
        self._glances = StatsHistory(self._engine, settings.consumer_group, sources.watch.figures)
        status = Status(
            health=sources.health,
            glances=self._glances,
            figures=sources.watch.figures,
            lag=sources.intake.lag,
            relay=sources.relay,
            retention={
                "enabled": settings.purge_enabled,
                "guest_days": settings.purge_retention_days,
                "interval_hours": settings.purge_interval_hours,
            },
        )
        self._api = Api(self._engine, self._glances, status, replays(self._engine).replay_one)

    def extend(self, app: Application) -> None:
        shield(app, self._access)
        add_pages(app)
        self._api.add_to(app)

    async def start(self) -> None:
        await self._glances.start()

    async def stop(self) -> None:
        await self._glances.stop()
        await self._engine.dispose()
