"""On a broker that creates topics whose metadata is asked for, only `els topics` creates topics."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from els_stream.embedded import kafka
from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.servers import Addresses
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, SLOT_ASSIGNED, VALIDATION_FAILED
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tests.support import factories
from tests.support.cli import els
from tests.support.kafka_clients import admin_client
from tests.support.worker_process import Worker, running_worker, send, until

CREATES_NONE = "auto.create.topics.enable=false"


@pytest.fixture
async def creating_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a broker of its own, which creates topics, as brokers do by default."""
    assert CREATES_NONE in kafka.PROPERTIES
    monkeypatch.setattr(kafka, "PROPERTIES", kafka.PROPERTIES.replace(CREATES_NONE, "auto.create.topics.enable=true"))
    broker = EmbeddedKafka(tmp_path)
    await broker.start()
    yield broker.address
    await broker.kill()


@pytest.mark.long
async def test_topics_that_were_deleted_stay_away_and_are_reported_until_they_are_created(
    addresses: Addresses, creating_broker: str, database: str, topic_prefix: str, tmp_path: Path
) -> None:
    where = (Addresses(creating_broker, addresses.database_url), database, topic_prefix)
    deleted = [topic_prefix + topic for topic in (VALIDATION_FAILED, SLOT_ASSIGNED)]
    named = {"ELS_BROKER_URL": creating_broker, "ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": topic_prefix}
    await ensure_topics(creating_broker, topic_prefix)

    async with running_worker(*where, tmp_path / "worker.log", ELS_METADATA_MAX_AGE_SECONDS="1") as worker:
        await delete_topics(creating_broker, deleted)
        await until(lambda: is_reported(worker, deleted[0]))
        events = (BATCH_REGISTERED, factories.registration()), (CONTENT_PROVISIONED, factories.content())
        await send(where[0], topic_prefix, *events)
        await until(lambda: is_deferred(worker))
        status = await els(named, "status", "--json")
        await els(named, "verify", "--kafka")
        await until(lambda: is_reported(worker, deleted[0]))
        left = await topics_of(creating_broker, topic_prefix)
        created = await els(named, "topics")
        await until(worker.ready)
        await until(lambda: is_published(worker))

    assert left == {topic_prefix + plan.topic for plan in TOPICS} - set(deleted)
    assert set(json.loads(status.stdout)["missing_topics"]) == set(deleted)
    assert created.exit_code == 0
    assert all(f"created    {name}\n" in created.stdout for name in deleted)


async def topics_of(broker: str, prefix: str) -> set[str]:
    async with admin_client(broker) as admin:
        return {name for name in await admin.list_topics() if name.startswith(prefix)}


async def is_reported(worker: Worker, topic: str) -> bool:
    _, _, shown = await worker.get("/readyz")
    return f"{topic}: there is no such topic" in shown


async def is_deferred(worker: Worker) -> bool:
    return await worker.metric("els_outbox_deferred_rows") == 1


async def is_published(worker: Worker) -> bool:
    return await worker.metric("els_outbox_rows") == 0
