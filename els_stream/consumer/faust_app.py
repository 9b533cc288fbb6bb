"""Faust's application, worker and web server, with the changes that this service needs; the docstrings say why."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import faust
from aiohttp.web import Application, AppRunner, TCPSite
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.types import ServiceT
from faust.web.drivers.aiohttp import Web
from mode import Service
from typing_extensions import override

from els_stream import log_writer
from els_stream.consumer.faust_consumer import ElsTransport
from els_stream.consumer.service import ConsumerService
from els_stream.errors import ElsError
from els_stream.kafka.broker import Broker
from els_stream.tasks import run_until

log = logging.getLogger(__name__)

# Exit after this time even if the shutdown hangs: offsets are stored with their effects, so nothing is lost. A worker
# promises to stop within 5 seconds; this leaves time for the process to end.
FORCED_EXIT_AFTER_SECONDS = 4.2
WEB_CLOSE_TIMEOUT_SECONDS = 0.5
EX_SOFTWARE = 70
GC_THRESHOLDS = (50_000, 20, 20)


class BackgroundService(Service):
    """Tasks that run beside the agents, and a function that is called when they have been cancelled."""

    def __init__(self, *, tasks: Sequence[Callable[[], Awaitable[None]]], stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._functions = tasks
        self._stop = stop
        self._running: list[asyncio.Task[None]] = []

    @override
    async def on_start(self) -> None:
        self._running = [asyncio.create_task(_run(function)) for function in self._functions]

    @override
    async def on_stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._stop()


async def _run(function: Callable[[], Awaitable[None]]) -> None:
    await function()


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """Everything that a worker consists of beside Faust.

    `prepare` runs before anything starts; its ElsError ends the worker with a message. `on_listening` gets the web
    server's address. Outer services are started first and stopped last; inner services are started last and stopped
    first.
    """

    consumer: ConsumerService
    broker: Broker
    prepare: Callable[[], Coroutine[Any, Any, None]]
    on_listening: Callable[[str], None]
    extend_web: Callable[[Application], None]
    any_web_port: bool
    outer_services: Sequence[Service]
    inner_services: Sequence[Service]


class ElsWeb(Web):
    """Faust's web server; it falls back to a free port when the configured one is taken by another worker."""

    production_blueprints = ()  # without Faust's page at `/`

    @override
    def __init__(self, app: ElsApp, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._services = app.services
        app.services.extend_web(self.web_app)
        # Without a limit a client that keeps its connection open delays the stop by a minute.
        self._runner = AppRunner(self.web_app, access_log=None, shutdown_timeout=WEB_CLOSE_TIMEOUT_SECONDS)

    @override
    async def start_server(self) -> None:
        conf = self.app.conf
        await self._runner.setup()
        try:
            port = 0 if self._services.any_web_port else conf.web_port
            await TCPSite(self._runner, conf.web_bind, port).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            log.warning("web port %d is taken; any free one is used instead", conf.web_port)
            await TCPSite(self._runner, conf.web_bind, 0).start()
        host, chosen, *_ = self._runner.addresses[0]
        address = f"http://[{host}]:{chosen}" if ":" in host else f"http://{host}:{chosen}"
        log.info("web server listens on %s", address)
        self._services.on_listening(address)


class NoTables(TableManager):
    """Faust's table manager, which would wait a second at the start for tables; there are none."""

    @override
    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class ElsBootStrategy(BootStrategy):
    """Starts no producer of Faust: each commit of offsets would first flush it. The relay has a producer of its own."""

    enable_kafka_producer = False

    @override
    def sensors(self) -> Iterable[ServiceT]:
        """Return the services that Faust starts first and stops last."""
        return [*cast("ElsApp", self.app).services.outer_services, *super().sensors()]

    @override
    def tables(self) -> Iterable[ServiceT]:
        """Return the services that Faust starts last and stops first."""
        return [*super().tables(), *cast("ElsApp", self.app).services.inner_services]


class ElsApp(faust.App):
    """Faust's application with our consumer, web server and services."""

    BootStrategy = ElsBootStrategy

    @override
    def __init__(self, services: WorkerServices, **options: Any) -> None:
        """`options` are Faust's."""
        self.services = services
        self.fatal_error: ElsError | None = None
        super().__init__(**options)

    def end_with(self, error: ElsError) -> None:
        """Stop the worker as SIGTERM does; it then exits with the error's message and code."""
        self.fatal_error = self.fatal_error or error
        signal.raise_signal(signal.SIGTERM)

    @override
    def _create_directories(self) -> None:
        """Make no folders: without tables nothing is stored, and the file system may be read-only."""

    @override
    def _new_transport(self) -> ElsTransport:
        return ElsTransport(self.conf.broker_consumer, self, self.services.consumer, self.services.broker)

    @override
    def _new_web(self) -> Web:
        return ElsWeb(self)


class ElsWorker(faust.Worker):
    """Faust's worker; it prepares before it starts, and stops within a time limit."""

    @override
    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Leave logging to the application's settings, and show no spinner between the lines."""
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
        app = cast("ElsApp", self.app)
        try:
            prepared = self.loop.run_until_complete(self._prepare())
        except ElsError as error:
            _exit_with(error)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        if not prepared:
            raise SystemExit(0)
        try:
            super().execute_from_commandline()
        finally:
            if app.fatal_error is not None:
                _exit_with(app.fatal_error)

    async def _prepare(self) -> bool:
        """Return false if SIGTERM came meanwhile: the first process of a container has no default action for it."""
        stop = asyncio.Event()
        self.loop.add_signal_handler(signal.SIGTERM, stop.set)
        try:
            await run_until(stop, cast("ElsApp", self.app).services.prepare())
        finally:
            self.loop.remove_signal_handler(signal.SIGTERM)
        return not stop.is_set()

    @override
    def _on_sigterm(self) -> None:
        _force_exit_later()
        super()._on_sigterm()

    @override
    def _on_sigint(self) -> None:
        _force_exit_later()
        super()._on_sigint()


def _exit_with(error: ElsError) -> NoReturn:
    sys.stderr.write(f"els: {error}\n")
    raise SystemExit(error.exit_code) from None


def _force_exit_later() -> None:
    timer = threading.Timer(FORCED_EXIT_AFTER_SECONDS, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    log_writer.stderr.write("els: the worker did not stop in time and exits now; nothing is lost\n")
    log_writer.stderr.drain()
    os._exit(EX_SOFTWARE)
