"""Runs PostgreSQL and Kafka as Docker containers, if the setting `servers` is `containers`.

They run until `down`, like the embedded servers; testcontainers' reaper, which would remove them, is off.
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from els_stream.embedded.jars import VERSION
from els_stream.embedded.kafka import PROPERTIES, STARTED
from els_stream.embedded.ports import LOOPBACK, new_ports
from els_stream.embedded.state import RunningServers
from els_stream.errors import ServersUnavailable

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = f"apache/kafka:{VERSION}"
START_TIMEOUT_SECONDS = 180
# Before that the image starts the server once without a port, to prepare the data.
POSTGRES_STARTED = r"listening on IPv4 address[\s\S]*database system is ready to accept connections"


def start() -> RunningServers:
    """Start both containers and block until they are ready. If one fails, remove the other."""
    _without_reaper()
    password = secrets.token_urlsafe(32)
    postgres, broker, controller = new_ports(3)
    with contextlib.ExitStack() as undo:
        variables = {"POSTGRES_USER": "els", "POSTGRES_DB": "els", "POSTGRES_PASSWORD": password}
        started = [
            _started(POSTGRES_IMAGE, variables, (5432, postgres), POSTGRES_STARTED, undo),
            _started(KAFKA_IMAGE, _kafka_variables(broker, controller), (broker, broker), STARTED.decode(), undo),
        ]
        undo.pop_all()
    url = f"postgresql://els:{password}@{LOOPBACK}:{postgres}/els"
    return RunningServers("containers", f"{LOOPBACK}:{broker}", url, tuple(started))


def stop(ids: Sequence[str]) -> None:
    """Remove the containers; those that no longer exist are ignored."""
    client = _module("testcontainers.core.docker_client").DockerClient().client
    for identity in ids:
        with contextlib.suppress(_module("docker.errors").NotFound):
            client.containers.get(identity).remove(force=True, v=True)


def _started(
    image: str, variables: dict[str, str], port: tuple[int, int], ready: str, undo: contextlib.ExitStack
) -> str:
    docker_error = _module("docker.errors").DockerException
    strategy = _module("testcontainers.core.wait_strategies").LogMessageWaitStrategy(ready)
    try:
        container: Any = _module("testcontainers.core.container").DockerContainer(image, env=variables)
        container.with_bind_ports(*port).waiting_for(strategy.with_startup_timeout(START_TIMEOUT_SECONDS))
        undo.callback(container.stop)
        container.start()
        return str(container.get_container_id())
    except (docker_error, TimeoutError) as error:
        message = f"no container of {image}; is a Docker engine running? {error}"
        raise ServersUnavailable(message) from error


def _kafka_variables(broker: int, controller: int) -> dict[str, str]:
    """Return the properties as environment variables of the image.

    The port is the same inside and outside, so that the broker reaches itself at its advertised address.
    """
    data = "/var/lib/kafka/data"
    properties = PROPERTIES.format(listen="", host=LOOPBACK, broker=broker, controller=controller, data=data)
    pairs = (line.split("=", 1) for line in properties.splitlines())
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in pairs}


def _without_reaper() -> None:
    _module("testcontainers.core.config").testcontainers_config.ryuk_disabled = True


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise ServersUnavailable("containers need testcontainers: pip install testcontainers") from missing
