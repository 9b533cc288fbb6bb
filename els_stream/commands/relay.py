from __future__ import annotations

import asyncio
import gc
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click
import structlog

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings
from els_stream.db.startup import wait_for_database
from els_stream.embedded.discovery import resolve
from els_stream.observability.logging import configure_logging
from els_stream.observability.tracing import Tracing
from els_stream.relay.factory import create_relay_engine, make_relay
from els_stream.relay.options import nobody

if sys.platform != "win32":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings

GOODBYE_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


@click.command(epilog=exit_codes())
def relay() -> None:
    """Run only a relay, until it is told to stop.

    Example: els relay

    For workers that run with ELS_RELAY_ENABLED=false, or beside those that don't: relays divide the outbox, whatever
    process they live in.

    Example: els relay
    """
    settings = resolve(load_settings())
    configure_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_until_told(settings))


async def _until_told(settings: Settings) -> None:
    """SIGTERM and Ctrl-C end it in order at any moment, also while it waits for the database."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    engine = create_relay_engine(settings)
    try:
        if await _unless(told, wait_for_database(engine)):
            await _relay(settings, engine, told)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await engine.dispose()


async def _relay(settings: Settings, engine: AsyncEngine, told: asyncio.Event) -> None:
    tracing = Tracing.from_settings(settings)
    relay = make_relay(settings, engine, tracing.wrap_on_ack(nobody))
    await relay.start()
    gc.collect()
    gc.freeze()
    log.info("relay_started", broker=settings.broker)
    try:
        await told.wait()
    finally:
        await relay.stop()
        await tracing.stop()
    status = relay.status()
    log.info("relay_stopped", acked=status.acked, rejected=status.refused)


async def _unless(told: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Whether the work was done before the word came; else it is given up."""
    doing, waiting = asyncio.create_task(work), asyncio.create_task(told.wait())
    await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (doing, waiting):
        task.cancel()
    await asyncio.wait({doing, waiting})
    if doing.cancelled():
        return False
    await doing
    return not told.is_set()
