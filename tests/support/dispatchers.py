"""Dispatchers without publishers, for tests that take batches and write results back themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.options import RelayOptions
from els_stream.relay.publish_batch import PublishBatch
from els_stream.relay.shard_leases import ShardLeases
from els_stream.relay.status import RelayHealth

# No poll is due by itself.
NO_POLLS = RelayOptions(poll_interval_seconds=3600, shard_check_interval_seconds=3600)


@asynccontextmanager
async def dispatching(engine: AsyncEngine, options: RelayOptions) -> AsyncIterator[Dispatcher]:
    """Yield a dispatcher that owns all shards, without publishers."""
    health = RelayHealth()
    acquired = asyncio.Event()
    leases = ShardLeases(engine, options, health, on_acquired=acquired.set)
    task = asyncio.create_task(leases.run())
    try:
        async with asyncio.timeout(10):
            await acquired.wait()
        yield Dispatcher(engine, leases, options, health)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def next_batch(dispatcher: Dispatcher) -> PublishBatch:
    async with asyncio.timeout(5):
        return await dispatcher.next_batch(on_idle=lambda: None)
