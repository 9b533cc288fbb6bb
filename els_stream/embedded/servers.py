"""Starts and stops the servers that the settings choose: servers with addresses, containers or embedded ones.

Several processes may call `up` and `down` at the same time: a lock file orders them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from els_stream.config.settings import Settings
from els_stream.embedded import containers
from els_stream.embedded.cluster import LARGEST, SINGLE, EmbeddedCluster, Topology
from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.kafka_security import KafkaSecurity
from els_stream.embedded.ports import answers
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.postgres_pair import PostgresPair
from els_stream.embedded.processes import shielded
from els_stream.embedded.server_group import ServerGroup
from els_stream.embedded.state import RunningServers, StateFolder
from els_stream.errors import ConfigurationError

POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the servers. `database_url` contains the password; `web` is that of the first running worker."""

    broker: str
    database_url: str
    web: str | None = None


class EmbeddedServers(ServerGroup[EmbeddedPostgres, EmbeddedKafka]):
    """Both servers in one state folder, of the checkout or of a test run; `security` is that of the broker."""

    def __init__(self, state_dir: Path, *, fsync: bool = True, security: KafkaSecurity | None = None) -> None:
        super().__init__(EmbeddedPostgres(state_dir, fsync=fsync), EmbeddedKafka(state_dir, security=security))


async def up(settings: Settings, *, topology: Topology | None = None, fsync: bool = True) -> Addresses:
    """Start the servers that do not run yet; they run until `down`, also after this process has ended.

    Without a topology it is the last one, else a single broker and no standby.
    """
    if _named(settings):
        return _addresses_named(settings)
    folder = StateFolder(settings.state_dir)
    folder.create()
    async with folder.locked():
        recorded = folder.running()
        wanted = topology or (SINGLE if recorded is None else _topology(recorded))
        if recorded is None or addresses(settings) is None:
            await _stop(folder)
            folder.record(await _start(folder, settings, wanted, fsync=fsync))
        elif wanted != _topology(recorded):
            raise ConfigurationError(f"servers run here already, with {_topology(recorded)}: run `els down` first")
        elif wanted != SINGLE:
            folder.record(await _start(folder, settings, wanted, fsync=fsync))
    found = addresses(settings)
    if found is None:
        raise ConfigurationError(f"another command stopped the servers in {folder.path} as they started")
    return found


async def promote(settings: Settings) -> None:
    """Have the standby take over from the primary, which comes back as its standby. Raises ConfigurationError."""
    folder = StateFolder(settings.state_dir)
    running = None if _named(settings) else folder.running()
    if running is None or not running.standby:
        raise ConfigurationError("no standby runs here: start one with `els up --standby`")
    async with folder.locked():
        pair = PostgresPair(folder.path)
        await pair.promote()
        await pair.rejoin()


async def down(settings: Settings, *, remove_data: bool = False) -> None:
    """Stop the servers that `up` started in this folder, in any process; never stop those in the settings."""
    folder = StateFolder(settings.state_dir)
    if _named(settings) or not folder.path.is_dir():
        return
    async with folder.locked():
        await _stop(folder)
        if remove_data:
            for topology in (SINGLE, LARGEST):
                EmbeddedCluster(folder.path, topology).remove_data()


def addresses(settings: Settings) -> Addresses | None:
    """Return the addresses in the settings, else of the servers started here if both answer."""
    folder = StateFolder(settings.state_dir)
    if _named(settings):
        return _addresses_named(settings)
    running = folder.running()
    if running is None or not _answers(folder, running):
        return None
    return Addresses(running.broker, running.database_url, folder.first_worker())


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Addresses]:
    """Run servers for a command in the foreground; stop them after the block, unless they ran before.

    SIGINT and SIGTERM cancel the block; then SystemExit is raised with the exit code that shells use (128 + signal).
    """
    found_running = addresses(settings) is not None
    with signals_cancel_body() as received:
        try:
            yield await up(settings)
        except asyncio.CancelledError:
            if received:
                raise SystemExit(128 + received[0]) from None
            raise
        finally:
            if not found_running:
                await shielded(down(settings))


def register_web(settings: Settings, address: str) -> None:
    """Record the web address of this process for `addresses`; it counts while the process runs."""
    StateFolder(settings.state_dir).register_worker(address)


async def _start(folder: StateFolder, settings: Settings, topology: Topology, *, fsync: bool) -> RunningServers:
    if settings.servers == "containers":
        if topology != SINGLE:
            raise ConfigurationError("several brokers and a standby are of the embedded servers only")
        return await asyncio.to_thread(containers.start, fsync=fsync)
    embedded = EmbeddedCluster(folder.path, topology, fsync=fsync)
    await embedded.start()
    address, url = embedded.kafka.address, embedded.postgres.url
    return RunningServers("embedded", address, url, brokers=topology.brokers, standby=topology.standby)


async def _stop(folder: StateFolder) -> None:
    running = folder.running()
    if running is not None and running.containers:
        await asyncio.to_thread(containers.stop, running.containers)
    for topology in (SINGLE, LARGEST):
        await EmbeddedCluster(folder.path, topology).stop()
    folder.forget()


def _topology(running: RunningServers) -> Topology:
    return Topology(running.brokers, running.standby)


def _answers(folder: StateFolder, running: RunningServers) -> bool:
    """Return whether both servers accept connections; of a cluster one member is enough."""
    topology = _topology(running)
    if running.kind == "embedded" and topology == SINGLE and not EmbeddedCluster(folder.path, topology).alive:
        return False
    hosts = urlsplit(running.database_url).netloc.rpartition("@")[2]
    return _any_answers(running.broker) and _any_answers(hosts)


def _any_answers(places: str) -> bool:
    """Return whether one of these host:port[,host:port] accepts connections."""
    return any(answers(host, int(port)) for host, _, port in (place.rpartition(":") for place in places.split(",")))


def _named(settings: Settings) -> bool:
    if (settings.broker_url is None) != (settings.database_url is None):
        raise ConfigurationError("set both ELS_BROKER_URL and ELS_DATABASE_URL, or neither to have servers started")
    return settings.broker_url is not None


def _addresses_named(settings: Settings) -> Addresses:
    url = settings.database.replace("postgresql+asyncpg://", "postgresql://", 1)
    return Addresses(str(settings.broker), url, StateFolder(settings.state_dir).first_worker())


@contextlib.contextmanager
def signals_cancel_body() -> Iterator[list[int]]:
    """Cancel the block at SIGINT and SIGTERM; yields the signals that came."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    received: list[int] = []

    def cancel(number: int) -> None:
        if not received and task is not None:
            task.cancel()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel, number)
    try:
        yield received
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
