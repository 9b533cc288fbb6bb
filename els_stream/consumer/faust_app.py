"""Faust's application, worker and web server, with the traps of each closed: see the docstrings."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NoReturn, cast

import faust
from aiohttp.web import Application, AppRunner, TCPSite
from faust.app.base import BootStrategy
from faust.types import ServiceT
from faust.web.drivers.aiohttp import Web
from mode import Service
from typing_extensions import override

from els_stream.consumer.faust_consumer import ElsTransport
from els_stream.consumer.service import ConsumerService
from els_stream.errors import ElsError

log = logging.getLogger(__name__)

# The ledger holds at any moment, so to be late is no reason to stay.
LAST_RESORT_SECONDS = 4.2
EX_SOFTWARE = 70
GC_THRESHOLDS = (50_000, 20, 20)


class BackgroundService(Service):
    """What runs beside the agents; `first` and `last` frame everything else of the worker."""

    def __init__(self, *, tasks: Sequence[Callable[[], Awaitable[None]]], stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._work = tasks
        self._end = stop
        self._running: list[asyncio.Task[None]] = []

    @override
    async def on_start(self) -> None:
        self._running = [asyncio.create_task(_run(work)) for work in self._work]

    @override
    async def on_stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._end()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


class ElsWeb(Web):
    """Falls back to a free port when the chosen one is taken: a second worker must not die of it."""

    production_blueprints = ()  # Faust's page at `/`

    @override
    def __init__(self, app: ElsApp, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        app.extend_web(self.web_app)
        # Without a limit a client that keeps its connection open would hold up the stop for a minute.
        self._runner = AppRunner(self.web_app, access_log=None, shutdown_timeout=0.5)

    @override
    async def start_server(self) -> None:
        conf = self.app.conf
        await self._runner.setup()
        try:
            port = 0 if cast("ElsApp", self.app).any_web_port else conf.web_port
            await TCPSite(self._runner, conf.web_bind, port).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            log.warning("web port %d is taken; any free one is used instead", conf.web_port)
            await TCPSite(self._runner, conf.web_bind, 0).start()
        host, chosen, *_ = self._runner.addresses[0]
        address = f"http://[{host}]:{chosen}" if ":" in host else f"http://{host}:{chosen}"
        log.info("web server listens on %s", address)
        cast("ElsApp", self.app).announce(address)


class ElsBootStrategy(BootStrategy):
    """No producer of Faust's: each commit of offsets would first flush it. The relay has its own."""

    enable_kafka_producer = False

    @override
    def sensors(self) -> Iterable[ServiceT]:
        """Started first and stopped last."""
        return [*cast("ElsApp", self.app).around, *super().sensors()]

    @override
    def tables(self) -> Iterable[ServiceT]:
        """Started last and stopped first."""
        return [*super().tables(), *cast("ElsApp", self.app).beside]


class ElsApp(faust.App):
    """Faust's App around an intake. `around` and `beside` are started first and last, stopped last and first."""

    BootStrategy = ElsBootStrategy
    intake: ConsumerService
    prepare: Callable[[], Awaitable[None]]
    announce: Callable[[str], None]
    extend_web: Callable[[Application], None]
    any_web_port: bool = False
    around: Sequence[Service] = ()
    beside: Sequence[Service] = ()

    @override
    def _new_transport(self) -> ElsTransport:
        return ElsTransport(self.conf.broker_consumer, self, self.intake)

    @override
    def _new_web(self) -> Web:
        return ElsWeb(self)


class ElsWorker(faust.Worker):
    """Prepares before it starts, so that a wrong database ends it with a message; stops in time, whatever hangs."""

    @override
    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Logging is as the application's settings say, and no spinner writes between the lines."""
        del logger, level
        self.spinner = None

    @override
    async def on_startup_finished(self) -> None:
        await super().on_startup_finished()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    @override
    def execute_from_commandline(self) -> NoReturn:
        try:
            self.loop.run_until_complete(cast("ElsApp", self.app).prepare())
        except ElsError as error:
            sys.stderr.write(f"els: {error}\n")
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        super().execute_from_commandline()

    @override
    def _on_sigterm(self) -> None:
        self._end_at_last()
        super()._on_sigterm()

    @override
    def _on_sigint(self) -> None:
        self._end_at_last()
        super()._on_sigint()

    def _end_at_last(self) -> None:
        timer = threading.Timer(LAST_RESORT_SECONDS, _exit)
        timer.daemon = True
        timer.start()


def _exit() -> None:
    sys.stderr.write("els: the worker did not stop in time and ends now; nothing is lost\n")
    sys.stderr.flush()
    os._exit(EX_SOFTWARE)
