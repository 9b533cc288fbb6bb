"""A client whose start is cancelled closes its connections; aiokafka alone leaves the first one open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from els_stream.embedded.servers import Addresses
from els_stream.kafka.clients import AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer
from tests.support.waiting import until

CLIENTS = (AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer)


@dataclass
class FirstAnswerOnly:
    """A way to a broker that forwards one answer, which is that to the first request, and no other."""

    broker: str
    address: str = ""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    open_connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        server_reader, server_writer = await asyncio.open_connection(*self.broker.split(":"))
        server_writer.write(await reader.read(65536))
        writer.write(await server_reader.read(65536))
        await reader.read(65536)
        self.waiting.set()
        with suppress(ConnectionError):
            await reader.read()
        self.open_connections -= 1
        for each in (writer, server_writer):
            each.close()


@asynccontextmanager
async def first_answer_only(broker: str) -> AsyncIterator[FirstAnswerOnly]:
    """Run it on a free port."""
    way = FirstAnswerOnly(broker)
    async with await asyncio.start_server(way.serve, "127.0.0.1", 0) as server:
        way.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield way


@pytest.mark.parametrize("make_client", CLIENTS)
async def test_a_cancelled_start_leaves_no_connection_open(
    addresses: Addresses, make_client: type[AIOKafkaAdminClient | AIOKafkaConsumer | AIOKafkaProducer]
) -> None:
    async with first_answer_only(addresses.broker) as way:
        client = make_client(bootstrap_servers=way.address)
        starting = asyncio.create_task(client.start())
        await way.waiting.wait()
        assert way.open_connections == 1

        starting.cancel()
        await asyncio.wait({starting})

        async def closed() -> bool:
            return way.open_connections == 0

        await until(closed)
        assert starting.cancelled()
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
