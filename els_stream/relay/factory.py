"""A relay as the settings say, in a worker or in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.db.engine import create_engine, limits_of
from els_stream.relay.options import OnAck, RelayOptions, nobody
from els_stream.relay.service import Relay

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings

# Those that the relay keeps come out of the pool too, for the moment of their making.
_KEPT_CONNECTIONS: Final = 2


def relay_options(settings: Settings) -> RelayOptions:
    return RelayOptions(
        poll_seconds=settings.relay_poll_seconds,
        fetch_rows=settings.relay_fetch_rows,
        retry_initial_seconds=settings.retry_initial_seconds,
        retry_max_seconds=settings.retry_max_seconds,
    )


def create_relay_engine(settings: Settings) -> AsyncEngine:
    """For the relay alone: a fetch reads its rows in the order of their index, whatever the statistics say."""
    size = relay_options(settings).passes_in_flight + _KEPT_CONNECTIONS
    return create_engine(settings.database, limits_of(settings), pool_size=size, name="els relay", bitmaps=False)


def make_relay(settings: Settings, engine: AsyncEngine, on_ack: OnAck = nobody) -> Relay:
    return Relay(
        engine,
        broker=settings.broker,
        topic_prefix=settings.topic_prefix,
        options=relay_options(settings),
        on_ack=on_ack,
    )
