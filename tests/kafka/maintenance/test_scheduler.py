"""Timers with a real broker and real workers: one time-out, and only after the contents in Kafka were processed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from agents.expire_batches import expire_batches
from els_stream.config.settings import Settings
from els_stream.embedded.ports import new_ports
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.handlers.recount import RepairCounts
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.expiry import SLOT_TOPICS
from els_stream.maintenance.scheduler import TimerName, TimerPolicy, Timers
from els_stream.queries import consumed_offsets
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.finished_batches import add_old_batches
from tests.support.staged_workers import locked_essays
from tests.support.waiting import until

MAX_WAIT_SECONDS = 45


@contextlib.asynccontextmanager
async def worker(environment: Mapping[str, str], log: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "els_stream", "worker", "--web-port", str(port)),
            env=os.environ | environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            assert await asyncio.wait_for(process.wait(), 10) == 0, f"see {log}"
        except TimeoutError:
            process.kill()
            raise


async def done(port: int, timer: str) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if (sample.name, sample.labels) == ("els_timer_items_total", {"timer": timer})
    )


@pytest.fixture
def environment(addresses: Addresses, database: str, topic_prefix: str) -> Mapping[str, str]:
    return {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": database,
        "ELS_TOPIC_PREFIX": topic_prefix,
        "ELS_CONSUMER_GROUP": f"{topic_prefix}group",
        "ELS_SESSION_TIMEOUT_SECONDS": "3",
        "ELS_HEARTBEAT_INTERVAL_SECONDS": "0.5",
        "ELS_EXPIRY_INTERVAL_SECONDS": "0.1",
        "ELS_REPAIR_INTERVAL_SECONDS": "0.1",
    }


class NoMetrics:
    def timer_done(self, timer: TimerName, count: int) -> None: ...
    def timer_failed(self, timer: TimerName) -> None: ...


async def test_time_outs_ask_the_broker_without_any_health_poller(
    engine: AsyncEngine, environment: Mapping[str, str], kafka_topics: dict[str, str], topic_prefix: str
) -> None:
    """The partitions come from the timer itself, so a health poller that never answers cannot stop it."""
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=2))
    await harness.execute(
        """
        UPDATE batch_essay_trackers
        SET registered_at = now() - interval '4 days', deadline_at = now() - interval '1 day'
        """
    )
    group = environment["ELS_CONSUMER_GROUP"]
    own = [Partition(kafka_topics[topic], number) for topic in SLOT_TOPICS for number in range(4)]
    async with engine.begin() as conn:
        await consumed_offsets.initialize(conn, group, dict.fromkeys(own, 0))
        now = await consumed_offsets.database_time(conn)
        await consumed_offsets.store_watermark(conn, group, dict.fromkeys(own, 0), now)
    settings = Settings(
        broker_url=environment["ELS_BROKER_URL"],
        consumer_group=group,
        topic_prefix=topic_prefix,
        expiry_interval_seconds=0.1,
    )
    timers = Timers(engine, TimerPolicy.from_settings(settings, RepairCounts()), NoMetrics())
    running = asyncio.create_task(expire_batches(timers))

    async def timed_out() -> bool:
        return not await harness.rows("SELECT 1 FROM batch_essay_trackers WHERE timed_out_at IS NULL")

    await until(timed_out)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await harness.kinds() == ["timeout"]


async def test_two_workers_time_a_batch_out_once_after_its_content_in_kafka(
    engine: AsyncEngine,
    addresses: Addresses,
    environment: Mapping[str, str],
    kafka_topics: dict[str, str],
    tmp_path: Path,
) -> None:
    """The deadline has passed long ago when the first worker starts; a content is still in Kafka."""
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=2))
    await harness.execute(
        """
        UPDATE batch_essay_trackers
        SET registered_at = now() - interval '4 days', deadline_at = now() - interval '1 day'
        """
    )
    producer = AIOKafkaProducer(bootstrap_servers=addresses.broker)
    await producer.start()
    await producer.send_and_wait(kafka_topics[topics.CONTENT_PROVISIONED], make.content(number=0))
    await producer.stop()
    consumer = AIOKafkaConsumer(
        kafka_topics[topics.READINESS_TIMEOUT], bootstrap_servers=addresses.broker, auto_offset_reset="earliest"
    )
    await consumer.start()
    first, second = new_ports(2)

    try:
        async with (
            worker(environment, tmp_path / "first.log", first),
            worker(environment, tmp_path / "second.log", second),
        ):
            record = await asyncio.wait_for(consumer.getone(), MAX_WAIT_SECONDS)
            data: dict[str, Any] = json.loads(record.value or b"")["data"]
            assert (data["actual_count"], data["missing_essay_ids"]) == (1, make.essay_ids(2)[1:])
            # Both workers have had many more rounds once this repair, which becomes due later, is done.
            await harness.execute("INSERT INTO batch_essay_trackers (batch_id) VALUES ('nothing-waits-here')")

            async def repaired() -> bool:
                return not await harness.rows("SELECT 1 FROM batch_essay_trackers WHERE state = 'unregistered'")

            await until(repaired)
            counts = [await done(port, "expire_batches") for port in (first, second)]
            assert sorted(counts) == [0, 1]
            assert sum([await done(port, "repair_batches") for port in (first, second)]) == 1
    finally:
        await consumer.stop()
    assert await harness.rows("SELECT 1 FROM batch_essay_trackers WHERE timed_out_at IS NULL") == []


async def test_sigterm_ends_a_worker_whose_purge_waits_and_rolls_the_chunk_back(
    engine: AsyncEngine, environment: Mapping[str, str], kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    assert kafka_topics
    harness = BatchHarness(engine=engine)
    (batch_id,) = await add_old_batches(harness, 1)
    (port,) = new_ports(1)
    patient = {"ELS_LOCK_TIMEOUT_SECONDS": "25", "ELS_STATEMENT_TIMEOUT_SECONDS": "28"}

    async def waits() -> bool:
        return bool(await harness.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

    async with locked_essays(harness, batch_id), worker({**environment, **patient}, tmp_path / "worker.log", port):
        await until(waits, seconds=MAX_WAIT_SECONDS)

    assert (await harness.tracker(batch_id)).state == "completed"
    assert len(await harness.slots(batch_id)) == 1
    assert [row.finished_at for row in await harness.rows("SELECT finished_at FROM purge_log")] == [None]
