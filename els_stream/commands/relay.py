from __future__ import annotations

import asyncio
import gc
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click
import structlog

from els_stream import log_writer
from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings
from els_stream.db.startup import wait_for_database
from els_stream.embedded.discovery import resolve
from els_stream.observability.logging import configure_logging
from els_stream.observability.tracing import Tracing
from els_stream.relay.factory import create_relay_engine, make_relay
from els_stream.relay.options import noop
from els_stream.tasks import run_until

if sys.platform != "win32":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings

CLOSE_TIMEOUT_SECONDS: Final = 0.5
TABLES: Final = ("event_outbox", "outbox_segments")

log = structlog.get_logger(__name__)


@click.command(epilog=exit_codes())
def relay() -> None:
    """Run only a relay, until SIGTERM or Ctrl-C.

    For workers that run with ELS_RELAY_ENABLED=false, or in addition to the relays of other workers: all relays
    divide the outbox among themselves.

    Example: els relay
    """
    settings = resolve(load_settings())
    configure_logging(settings.log_level, settings.log_format, log_writer.stderr)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    """Run until a signal comes, which is obeyed also while this waits for the database."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = create_relay_engine(settings)
    try:
        await run_until(stop, wait_for_database(engine, TABLES))
        if not stop.is_set():
            await _relay(settings, engine, stop)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await engine.dispose()


async def _relay(settings: Settings, engine: AsyncEngine, stop: asyncio.Event) -> None:
    tracing = Tracing.from_settings(settings)
    relay = make_relay(settings, engine, tracing.wrap_on_ack(noop))
    await relay.start()
    gc.collect()
    gc.freeze()
    log.info("relay_started", broker=str(settings.broker))
    try:
        await stop.wait()
    finally:
        await relay.stop()
        await tracing.stop()
    status = relay.status()
    log.info("relay_stopped", acked=status.acked, rejected=status.rejected)
