"""`els status` on real servers: counts over all batches, and the consumer lag."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from tests.support.batch_harness import BatchHarness
from tests.support.cli import els
from tests.support.log_segments import LogSegment

AT = topics.CONTENT_PROVISIONED


@pytest.fixture
async def environment(
    engine: AsyncEngine,
    database: str,
    addresses: Addresses,
    topic_prefix: str,
    kafka_topics: dict[str, str],
    tmp_path: Path,
) -> Mapping[str, str]:
    """Batches in several states; of ten contents, seven are processed by their stored offset."""
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration("open", essays=4, class_id="class-9b"))
    await harness.together(harness.registration("guests", essays=1))
    await harness.together(*(harness.content(n, "open") for n in range(2)), harness.content(0, "guests"))
    await harness.together(harness.failure(0, "early"), harness.failure(1, "early"))
    await harness.together(harness.record(AT, b"Dear Sir or Madam,"))
    await harness.together(*(harness.content(n, "open", file_size_bytes=-1) for n in range(5, 8)))
    await harness.together(harness.failure(9, "open", validation_error_code="DOG_ATE_IT"))
    store_offset = (
        "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset) VALUES ('g', :topic, 0, :at)"
    )
    for topic, at in ((AT, 7), (topics.VALIDATION_FAILED, 2)):
        await harness.execute(store_offset, topic=kafka_topics[topic], at=at)
    producer = AIOKafkaProducer(bootstrap_servers=addresses.broker, transactional_id=str(uuid4()))
    await producer.start()
    for topic, records in ((AT, 10), (topics.VALIDATION_FAILED, 2)):
        await producer.begin_transaction()
        for number in range(records):
            await producer.send_and_wait(kafka_topics[topic], b"%d" % number, partition=0)
        await producer.commit_transaction()  # leaves a transaction marker after its records
    await producer.stop()
    return {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": database,
        "ELS_CONSUMER_GROUP": "g",
        "ELS_TOPIC_PREFIX": topic_prefix,
        "ELS_STATE_DIR": str(tmp_path),
    }


async def test_it_counts_batches_events_and_records(environment: Mapping[str, str]) -> None:
    result = await els(environment, "status", "--json")

    assert result.exit_code == 0
    report = json.loads(result.stdout)
    batches = {(row["class_type"], row["state"]): row for row in report["batches"]}
    assert set(batches) == {("REGULAR", "open"), ("GUEST", "completed"), (None, "unregistered")}
    is_open = batches["REGULAR", "open"]
    assert [is_open[name] for name in ("batches", "slots", "filled", "failed", "free")] == [1, 4, 2, 1, 1]
    assert [(row["name"], row["count"]) for row in report["pending"]] == [("validation_failed", 2)]
    assert [(row["name"], row["count"]) for row in report["dead_letters"]] == [
        ("contract_violation", 3),
        ("not_json", 1),
    ]
    assert (report["outbox"]["rows"], report["outbox"]["deferred"]) == (8, 0)
    lag = {row["topic"].removeprefix(environment["ELS_TOPIC_PREFIX"]): row["lag"] for row in report["offsets"]}
    assert lag == {AT: 4, topics.VALIDATION_FAILED: 0}  # ten records and a marker; two, and only a marker left
    assert report["broker_error"] is None


async def test_it_shows_no_lag_once_all_records_are_processed(
    environment: Mapping[str, str], engine: AsyncEngine
) -> None:
    harness = BatchHarness(engine=engine)
    await harness.execute("UPDATE consumed_offsets SET next_offset = next_offset + 5 WHERE next_offset = 7")
    await harness.execute("UPDATE consumed_offsets SET next_offset = next_offset + 1")

    result = await els(environment, "status", "--json")

    assert result.exit_code == 0
    assert [row["lag"] for row in json.loads(result.stdout)["offsets"]] == [0, 0]


async def test_it_reads_past_a_header_name_that_is_not_utf8(
    environment: Mapping[str, str], addresses: Addresses, server_settings: Settings, kafka_topics: dict[str, str]
) -> None:
    """Before: UnicodeDecodeError of `els status`, and of `els verify` for one on an output topic."""
    producer = AIOKafkaProducer(bootstrap_servers=addresses.broker)
    await producer.start()
    for topic in (AT, topics.SLOT_ASSIGNED):
        await producer.send_and_wait(kafka_topics[topic], b"one", partition=0, headers=[("l~n", b"1")])
        segment = LogSegment(server_settings.state_dir / "kafka" / "data", kafka_topics[topic], 0)
        segment.replace(b"l~n", b"l\xe4n", mend_checksum=True)
    await producer.stop()

    result = await els(environment, "status", "--json")
    verified = await els(environment, "verify", "--kafka")

    assert (result.exit_code, json.loads(result.stdout)["broker_error"]) == (0, None)
    assert json.loads(result.stdout)["offsets"][0]["lag"] == 5
    assert f"{kafka_topics[topics.SLOT_ASSIGNED]}/0/0 has no event id" in verified.stdout


async def test_the_text_shows_the_same(environment: Mapping[str, str]) -> None:
    result = await els(environment, "status")

    assert result.exit_code == 0
    for line in ("REGULAR  open        ", "GUEST", "validation_failed", "not_json", "8 waiting, 0 deferred", AT):
        assert line in result.stdout


async def test_it_shows_what_senders_changed(environment: Mapping[str, str]) -> None:
    report = json.loads((await els(environment, "status", "--json")).stdout)
    shown = [" ".join(line.split()) for line in (await els(environment, "status")).stdout.splitlines()]

    violations = [(row["topic"], row["field"], row["count"], row["last_hour"]) for row in report["contract_violations"]]
    assert violations == [(AT, "data.file_size_bytes", 3, 3)]
    codes = [(row["code"], row["count"], row["last_hour"]) for row in report["unknown_validation_codes"]]
    assert codes == [("DOG_ATE_IT", 1, 1)]
    assert shown[shown.index("contract violations at count last hour newest id input topic") + 1].startswith(
        "data.file_size_bytes 3 3 4 huleedu.file.essay."
    )
    assert shown[shown.index("unknown validation codes count last hour") + 1] == "DOG_ATE_IT 1 1"


async def test_without_the_broker_it_shows_the_rest(environment: Mapping[str, str]) -> None:
    result = await els({**environment, "ELS_BROKER_URL": "127.0.0.1:1"}, "status", "--json")

    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert "127.0.0.1:1" in report["broker_error"]
    assert [row["lag"] for row in report["offsets"]] == [None, None]
    assert len(report["batches"]) == 3
