"""Connections that aiokafka alone would keep: over TLS until the broker closes too, and those that do not answer."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiokafka.protocol.metadata import MetadataRequest

from els_stream.embedded.certificates import Authority
from els_stream.embedded.servers import Addresses
from els_stream.kafka.broker import Broker, Tls
from els_stream.kafka.clients import AIOKafkaConsumer
from els_stream.kafka.connections import Connections, open_connection
from tests.support.tcp_proxy import TcpProxy
from tests.support.tls_peer import is_closed, tls_peer


async def test_a_connection_that_is_given_up_closes_its_socket(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with tls_peer(authority.issue("broker")) as peer:
        broker = Broker(f"127.0.0.1:{peer.port}", tls=Tls(ca_file=authority.file))
        client = AIOKafkaConsumer(bootstrap_servers=broker)
        starting = asyncio.create_task(client.start())
        taken: socket.socket = await asyncio.to_thread(peer.accept)

        starting.cancel()
        await asyncio.wait({starting})

        assert await asyncio.to_thread(is_closed, taken)
        await client.stop()


async def test_a_connection_that_does_not_answer_for_metadata_is_closed(addresses: Addresses) -> None:
    host, _, port = addresses.broker.partition(":")
    opener = Connections(Broker(addresses.broker))
    async with TcpProxy((host, int(port))).running() as path:
        connection = await open_connection(host, path.port, sasl_plain_password=opener, request_timeout_ms=300)
        path.silence()

        with pytest.raises(TimeoutError):
            await connection.send(MetadataRequest([]))

        assert not connection.connected()
