"""Timers with a real broker and real workers: one time-out, and only after the contents in Kafka were processed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from agents.expire_batches import expire_batches
from els_stream.config.settings import Settings
from els_stream.embedded.ports import new_ports
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.handlers.recount import RepairCounts
from els_stream.kafka.offsets import Partition, Watermark
from els_stream.maintenance.expiry import SLOT_TOPICS
from els_stream.maintenance.scheduler import TimerName, TimerPolicy, Timers
from els_stream.queries import consumed_offsets
from els_stream.verify.invariants import check_invariants
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
        await consumed_offsets.store_watermarks(conn, group, dict.fromkeys(own, Watermark(0, now, 0)))
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


BUSY = "its-slot-is-locked"
LATE = "the-last-content-is-unread"
ABSENT = "the-content-never-came"


async def overdue_batches(harness: BatchHarness, *batch_ids: str) -> None:
    """Register batches of one essay whose deadline has passed."""
    for batch_id in batch_ids:
        await harness.together(harness.registration(batch_id, essays=1))
    await harness.execute(
        "UPDATE batch_essay_trackers SET registered_at = now() - interval '2 h', deadline_at = now() - interval '1 h'"
        " WHERE batch_id = ANY(:batch_ids)",
        batch_ids=list(batch_ids),
    )


async def send_with_fast_clock(addresses: Addresses, kafka_topics: Mapping[str, str]) -> None:
    """Send contents, that of LATE as the last, to one partition, with timestamps 50 minutes ahead."""
    ahead = int((time.time() + 3_000) * 1000)  # a broker refuses more than an hour
    async with AIOKafkaProducer(bootstrap_servers=addresses.broker) as producer:
        for batch_id in ("early", BUSY, LATE):
            await producer.send_and_wait(
                kafka_topics[topics.CONTENT_PROVISIONED], make.content(batch_id), partition=0, timestamp_ms=ahead
            )


async def timer_rounds(harness: BatchHarness) -> None:
    """Return after each timer of a worker had many more rounds: a repair, which becomes due later, is done."""
    await harness.execute("INSERT INTO batch_essay_trackers (batch_id) VALUES ('nothing-waits-here')")

    async def repaired() -> bool:
        return not await harness.rows("SELECT 1 FROM batch_essay_trackers WHERE batch_id = 'nothing-waits-here'")

    await until(repaired, seconds=MAX_WAIT_SECONDS)


@pytest.mark.parametrize("stored_ahead", [False, True], ids=["sender's clock", "database's clock"])
async def test_a_clock_that_runs_ahead_times_no_batch_out(
    engine: AsyncEngine,
    addresses: Addresses,
    environment: Mapping[str, str],
    kafka_topics: dict[str, str],
    tmp_path: Path,
    *,
    stored_ahead: bool,
) -> None:
    """The workers were away over the deadline, and the content of LATE is in Kafka.

    The worker waits for the slot of BUSY before it, at first, which no timer waits for: BUSY is not overdue.
    Either the senders' timestamps lie ahead, or the watermarks do, from a moment when the database's clock was wrong.
    """
    harness = BatchHarness(engine=engine)
    await overdue_batches(harness, LATE, ABSENT)
    await harness.together(harness.registration(BUSY, essays=1))
    await send_with_fast_clock(addresses, kafka_topics)
    if stored_ahead:
        await store_watermarks_ahead(engine, environment, kafka_topics)
    (port,) = new_ports(1)

    async def timed_out(batch_id: str) -> bool:
        return (await harness.tracker(batch_id)).timed_out_at is not None

    async def waits_for_the_slot_only() -> bool:
        early = await harness.rows("SELECT 1 FROM batch_pending_events WHERE batch_id = 'early'")
        at_end = await harness.rows("SELECT 1 FROM consumed_offsets WHERE watermark_at < now()")
        return bool(early) and len(at_end) == len(topics.INPUT_TOPICS) * 4 - 1

    single = {"ELS_MICRO_BATCH_RECORDS": "1", "ELS_TRANSACTIONS_IN_FLIGHT": "1"}
    async with worker({**environment, **single}, tmp_path / "worker.log", port):
        async with locked_essays(harness, BUSY):
            await until(waits_for_the_slot_only, seconds=MAX_WAIT_SECONDS)
            await timer_rounds(harness)
            assert not await timed_out(LATE)
            assert not await timed_out(ABSENT)
        await until(partial(timed_out, ABSENT), seconds=MAX_WAIT_SECONDS)

    assert [(await harness.tracker(batch_id)).state for batch_id in (BUSY, LATE)] == ["completed"] * 2
    assert not await timed_out(LATE)
    (watermarks,) = await harness.rows("SELECT max(watermark_at) < now() AS passed FROM consumed_offsets")
    assert watermarks.passed


async def store_watermarks_ahead(
    engine: AsyncEngine, environment: Mapping[str, str], kafka_topics: Mapping[str, str]
) -> None:
    """Store watermarks three days ahead for all partitions, which `els verify` names."""
    group = environment["ELS_CONSUMER_GROUP"]
    partitions = [Partition(kafka_topics[topic], number) for topic in topics.INPUT_TOPICS for number in range(4)]
    async with engine.begin() as conn:
        await consumed_offsets.initialize(conn, group, dict.fromkeys(partitions, 0))
        await conn.execute(text("UPDATE consumed_offsets SET watermark_at = now() + interval '3 days'"))
    async with engine.connect() as conn:
        findings = await check_invariants(conn, consumer_group=group, prefix=environment["ELS_TOPIC_PREFIX"])
    (violated,) = [finding for finding in findings if finding.violated]
    assert (violated.invariant, violated.violated) == ("I5", len(partitions))
    assert "lies ahead of the database's clock" in violated.examples[0]


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
