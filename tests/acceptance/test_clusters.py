"""`els up` with several brokers: a cluster of its own beside the single servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from els_stream.commands.topics import ensure
from els_stream.config.settings import Settings
from els_stream.embedded.cluster import EmbeddedCluster, Topology
from els_stream.embedded.kafka_cluster import KafkaCluster
from els_stream.embedded.servers import addresses, down, up
from els_stream.errors import ConfigurationError, ServersUnavailable
from els_stream.events.topics import OUTPUT_TOPICS
from els_stream.kafka.admin import admin_client
from els_stream.kafka.topics import Created, Present
from tests.support.paths import reachable_folder
from tests.support.waiting import until

THREE = Topology(brokers=3)


@pytest.fixture
async def settings() -> AsyncIterator[Settings]:
    with reachable_folder() as folder:
        settings = Settings(state_dir=folder / "state", broker_url=None, database_url=None, servers="embedded")
        yield settings
        await down(settings, remove_data=True)


async def replicas(broker: str) -> set[int]:
    async with admin_client(broker) as admin:
        found = await admin.describe_topics(list(OUTPUT_TOPICS))
    return {len(partition["replicas"]) for topic in found for partition in topic["partitions"]}


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_three_brokers_go_on_without_one_until_up_starts_it_again(settings: Settings) -> None:
    found = await up(settings, topology=THREE, fsync=False)
    here = settings.with_servers(broker_url=found.broker, database_url=found.database_url)
    assert {type(state) for state in await ensure(here)} == {Created}
    assert await replicas(found.broker) == {3}
    with pytest.raises(ConfigurationError, match="els down"):
        await up(settings, topology=Topology())

    cluster = EmbeddedCluster(settings.state_dir, THREE)
    assert isinstance(cluster.kafka, KafkaCluster)
    await cluster.kafka.nodes[0].kill()

    async def topics_are_present() -> bool:
        with contextlib.suppress(ServersUnavailable):  # until the others have taken over
            return {type(state) for state in await ensure(here)} == {Present}
        return False

    await until(topics_are_present, seconds=60, every=0.5)
    assert addresses(settings) == found
    assert not cluster.kafka.nodes[0].alive
    assert await up(settings) == found
    assert cluster.kafka.nodes[0].server.process is not None

    await down(settings)
    assert addresses(settings) is None
    assert not any(node.alive for node in cluster.kafka.nodes)
