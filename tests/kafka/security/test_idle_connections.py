"""A path that drops idle connections in silence: they are closed before, and the system looks after the others."""

from __future__ import annotations

import socket

from els_stream.embedded.servers import Addresses
from els_stream.kafka.broker import Broker
from els_stream.kafka.connection import KEEPALIVE
from els_stream.kafka.connections import Connections, open_connection
from tests.support.waiting import until


async def test_an_idle_connection_is_closed_after_its_time(addresses: Addresses) -> None:
    host, _, port = addresses.broker.partition(":")
    options = Connections(Broker(addresses.broker, max_idle_seconds=0.5)).options()
    assert options["connections_max_idle_ms"] == 500
    passed_on = {"security_protocol": "PLAINTEXT", "sasl_plain_password": options["sasl_plain_password"]}

    connection = await open_connection(host, int(port), max_idle_ms=options["connections_max_idle_ms"], **passed_on)

    assert connection.connected()
    await until(lambda: not connection.connected())


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
