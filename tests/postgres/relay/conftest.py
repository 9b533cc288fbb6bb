from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.relay.dispatcher import Dispatcher
from tests.support.dispatchers import NO_POLLS, dispatching


@pytest.fixture
async def dispatcher(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    """A dispatcher that owns all shards, without publishers."""
    async with dispatching(engine, NO_POLLS) as one:
        yield one
