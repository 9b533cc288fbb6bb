"""Two deployments on one Kafka and one PostgreSQL, with own topics, groups and databases, do not see each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.servers import Addresses
from els_stream.kafka.topics import TOPICS, delete_topics
from tests.support.demo_environment import DemoEnvironment

SEEDS = (1, 2)


@pytest.fixture
def names(topic_prefix: str) -> list[str]:
    return [f"{topic_prefix}cell-{seed}." for seed in SEEDS]


async def test_cells_with_the_same_batch_ids_process_only_their_own_records(
    addresses: Addresses, template: str, names: list[str], tmp_path: Path
) -> None:
    """The contents of the batches differ, so a record in the wrong cell would be a difference."""
    cells = zip(SEEDS, names, strict=True)
    await asyncio.gather(*(run_cell(addresses, template, seed, name, tmp_path) for seed, name in cells))


async def run_cell(addresses: Addresses, template: str, seed: int, prefix: str, folder: Path) -> None:
    traffic = make_traffic(seed, batches=24, largest=12, mix=Mix(late=0.2, refused=0.02))
    name = prefix.replace(".", "_").replace("-", "_")
    database = await create_database(addresses.database_url, name, template)
    try:
        place = folder / name
        place.mkdir()
        async with DemoEnvironment(addresses.broker, database, prefix, place) as env:
            env.pool.start()
            await env.send(traffic.messages)
            await env.until_all_handled()
            stored = await env.stored_offsets()

            assert await env.wrong(traffic) == []
            assert {partition.topic.startswith(prefix) for partition in stored} == {True}
    finally:
        await drop_database(addresses.database_url, name)
        await delete_topics(addresses.broker, [prefix + plan.topic for plan in TOPICS])
