"""Makes a relay and its engine from the settings, for a worker and for `els relay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.db.engine import Limits, create_engine
from els_stream.relay.options import OnAck, RelayOptions, noop
from els_stream.relay.service import Relay

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings

# The two dedicated connections are detached from the pool, but come out of it while they are made.
_DEDICATED_CONNECTIONS: Final = 2


def create_relay_engine(settings: Settings) -> AsyncEngine:
    """Create an engine for the relay alone: its fetches read rows in index order, whatever the statistics say."""
    size = RelayOptions.from_settings(settings).publishers + _DEDICATED_CONNECTIONS
    limits = Limits.from_settings(settings)
    return create_engine(lambda: settings.database, limits, pool_size=size, name="els relay", bitmaps=False)


def make_relay(settings: Settings, engine: AsyncEngine, on_ack: OnAck = noop) -> Relay:
    return Relay(
        engine,
        broker=settings.broker,
        topic_prefix=settings.topic_prefix,
        options=RelayOptions.from_settings(settings),
        on_ack=on_ack,
    )
