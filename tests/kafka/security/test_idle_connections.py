"""A path that drops idle connections in silence: they are closed before, and the system looks after the others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from els_stream.embedded.servers import Addresses
from els_stream.kafka.broker import Broker
from els_stream.kafka.connection import KEEPALIVE
from els_stream.kafka.connections import Connections, open_connection
from tests.support.secure_kafka import SecureKafka
from tests.support.secure_traffic import Traffic
from tests.support.silent_path import SilentPath, silent_path
from tests.support.waiting import until
from tests.support.worker_process import running_worker


async def test_an_idle_connection_is_closed_after_its_time(addresses: Addresses) -> None:
    host, _, port = addresses.broker.partition(":")
    options = Connections(Broker(addresses.broker, max_idle_seconds=0.5)).options()
    assert options["connections_max_idle_ms"] == 500
    passed_on = {"security_protocol": "PLAINTEXT", "sasl_plain_password": options["sasl_plain_password"]}

    connection = await open_connection(host, int(port), max_idle_ms=options["connections_max_idle_ms"], **passed_on)

    assert connection.connected()
    await until(lambda: not connection.connected())


@pytest.mark.long
async def test_a_worker_keeps_no_connection_that_the_path_drops(
    secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    """An idle connection of the relay would be found dead only by its next request, after its time-out."""
    log = tmp_path / "worker.log"
    environment = secure.environment("DISTANT", MAX_IDLE_SECONDS=1)
    traffic = Traffic(secure.admin, worker_topics)
    target = int(environment["ELS_BROKER_URL"].rpartition(":")[2])
    environment["ELS_BROKER_URL"] = f"127.0.0.1:{secure.path_port}"
    async with (
        silent_path(secure.path_port, target, idle_seconds=3) as path,
        running_worker(addresses, database, worker_topics, log, **environment) as worker,
    ):
        for _ in range(2):
            await traffic.send(2)
            await traffic.until_assigned(traffic.sent)
            await until_another_is_closed(path)
        assert path.dropped == 0
        assert await worker.ready()


async def until_another_is_closed(path: SilentPath) -> None:
    closed = path.closed_by_client
    await until(lambda: path.closed_by_client > closed)


async def test_a_connection_has_keepalive(addresses: Addresses) -> None:
    host, _, port = addresses.broker.partition(":")
    opener = Connections(Broker(addresses.broker))

    connection = await open_connection(host, int(port), sasl_plain_password=opener)
    sock = connection._writer.get_extra_info("socket")
    enabled = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    set_to = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name, _ in KEEPALIVE}
    await connection.close()

    assert enabled == 1
    assert set_to == dict(KEEPALIVE)
