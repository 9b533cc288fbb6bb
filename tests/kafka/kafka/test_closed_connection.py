"""A connection over TLS closes its socket at once, also if the broker does not; aiokafka alone keeps it for 30 s."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from els_stream.embedded.certificates import Authority
from els_stream.kafka.broker import Broker, Tls
from els_stream.kafka.clients import AIOKafkaConsumer
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
