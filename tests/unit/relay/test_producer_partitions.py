import sys
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from els_stream.queries.outbox_rows import WaitingRow
from els_stream.relay.options import RelayOptions
from els_stream.relay.producer import Producer

PARTITIONS = 12
MANY_KEYS = 40_000


def waiting(key: bytes | None, number: int = 1) -> WaitingRow:
    return WaitingRow(0, "batch", UUID(int=number), "topic", key, b"{}", b"[]", 0)


@pytest.fixture
async def producer() -> AsyncIterator[Producer]:
    """A producer that is not connected."""
    unconnected = Producer("127.0.0.1:1", RelayOptions())
    yield unconnected
    await unconnected.abandon()


async def test_an_event_goes_where_other_kafka_clients_send_its_key(producer: Producer) -> None:
    # From Kafka's own test of murmur2: org.apache.kafka.common.utils.UtilsTest.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}

    found = {key: producer.partition(waiting(key), PARTITIONS) for key in hashes}

    assert found == {key: (hashed & 0x7FFFFFFF) % PARTITIONS for key, hashed in hashes.items()}


async def test_events_without_a_key_are_spread_by_their_ids(producer: Producer) -> None:
    found = [producer.partition(waiting(None, number), PARTITIONS) for number in range(PARTITIONS)]

    assert sorted(found) == list(range(PARTITIONS))


async def test_the_keys_of_many_batches_take_little_memory(producer: Producer) -> None:
    before = sys.getallocatedblocks()

    for number in range(MANY_KEYS):
        producer.partition(waiting(b"%036d" % number), PARTITIONS)

    assert sys.getallocatedblocks() - before < 2 * MANY_KEYS
