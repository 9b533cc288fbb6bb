"""Runs PostgreSQL and Kafka as Docker containers, if the setting `servers` is `containers`.

They run until `down`, like the embedded servers; testcontainers' reaper, which would remove them, is off.
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from els_stream.embedded.jars import VERSION
from els_stream.embedded.kafka import HEAP, JVM, PROPERTIES, STARTED
from els_stream.embedded.ports import LOOPBACK, new_ports
from els_stream.embedded.postgres import LOCALE, OWNER, SETTINGS
from els_stream.embedded.state import RunningServers
from els_stream.errors import ServersUnavailable

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = f"apache/kafka:{VERSION}"
START_TIMEOUT_SECONDS = 180
# Before that the image starts the server once without a port, to prepare the data.
POSTGRES_STARTED = r"listening on IPv4 address[\s\S]*database system is ready to accept connections"


def check_engine() -> None:
    """Raise ServersUnavailable if no Docker engine answers."""
    with _engine():
        pass


def start(*, fsync: bool = True) -> RunningServers:
    """Start both containers and block until they are ready. If one fails, remove the other.

    PostgreSQL has the settings of the embedded server. `fsync=False` is for tests.
    """
    check_engine()
    _without_reaper()
    password = secrets.token_urlsafe(32)
    postgres, broker, controller = new_ports(3)
    with contextlib.ExitStack() as undo:
        variables = _postgres_variables(password, fsync=fsync)
        started = [
            _started(POSTGRES_IMAGE, variables, (5432, postgres), POSTGRES_STARTED, undo),
            _started(KAFKA_IMAGE, _kafka_variables(broker, controller), (broker, broker), STARTED.decode(), undo),
        ]
        undo.pop_all()
    url = f"postgresql://{OWNER}:{password}@{LOOPBACK}:{postgres}/{OWNER}"
    return RunningServers("containers", f"{LOOPBACK}:{broker}", url, tuple(started))


def stop(ids: Sequence[str]) -> None:
    """Remove the containers; those that no longer exist are ignored."""
    with _engine() as client:
        for identity in ids:
            with contextlib.suppress(_module("docker.errors").NotFound):
                client.containers.get(identity).remove(force=True, v=True)


@contextlib.contextmanager
def _engine() -> Iterator[Any]:
    """Yield a client of the Docker engine."""
    module = _module("testcontainers.core.docker_client")
    try:
        client = module.DockerClient().client
    except _module("docker.errors").DockerException as error:
        raise ServersUnavailable(f"no Docker engine answers: {error}") from error
    with contextlib.closing(client):
        yield client


def _started(
    image: str, variables: dict[str, str], port: tuple[int, int], ready: str, undo: contextlib.ExitStack
) -> str:
    failures = (_module("docker.errors").DockerException, RuntimeError, TimeoutError)
    strategy = _module("testcontainers.core.wait_strategies").LogMessageWaitStrategy(ready)
    inside, outside = port
    try:
        container: Any = _module("testcontainers.core.container").DockerContainer(image, env=variables)
        # Not with_bind_ports: it opens the port on every address of the machine.
        container.ports[f"{inside}/tcp"] = (LOOPBACK, outside)
        container.waiting_for(strategy.with_startup_timeout(START_TIMEOUT_SECONDS))
        undo.callback(container.stop)
        with contextlib.closing(container.get_docker_client().client):
            container.start()
            return str(container.get_container_id())
    except failures as error:
        raise ServersUnavailable(f"no container of {image}: {error}") from error


def _postgres_variables(password: str, *, fsync: bool) -> dict[str, str]:
    settings = SETTINGS if fsync else SETTINGS | {"fsync": "off"}
    options = [*LOCALE, *(f"--set={name}={value}" for name, value in settings.items())]
    return {
        "POSTGRES_USER": OWNER,
        "POSTGRES_DB": OWNER,
        "POSTGRES_PASSWORD": password,
        "POSTGRES_INITDB_ARGS": " ".join(options),
    }


def _kafka_variables(broker: int, controller: int) -> dict[str, str]:
    """Return the properties as environment variables of the image.

    The port is the same inside and outside, so that the broker reaches itself at its advertised address.
    """
    data = "/var/lib/kafka/data"
    properties = PROPERTIES.format(listen="", host=LOOPBACK, broker=broker, controller=controller, data=data)
    pairs = (line.split("=", 1) for line in properties.splitlines())
    variables = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in pairs}
    return variables | {"KAFKA_HEAP_OPTS": " ".join(HEAP), "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(JVM)}


def _without_reaper() -> None:
    _module("testcontainers.core.config").testcontainers_config.ryuk_disabled = True


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise ServersUnavailable("containers need testcontainers: pip install testcontainers") from missing
