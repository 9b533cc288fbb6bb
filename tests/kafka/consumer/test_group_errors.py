"""The broker's errors for a member of a consumer group: each is shown, and retried or the end of the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError

from els_stream.consumer.group_client import keep_static_member_id
from els_stream.consumer.group_internals import coordination_error
from els_stream.embedded import kafka
from els_stream.embedded.servers import EmbeddedServers
from tests.support.consumer_testbed import ConsumerTestbed
from tests.support.effects_worker_process import EffectsWorkerProcess
from tests.support.waiting import until

SOME = [f"record {number}" for number in range(300)]
CONFIGURATION_ERROR = 2


async def ended(testbed: ConsumerTestbed, worker: EffectsWorkerProcess, *, line: str) -> None:
    """Wait until the worker ends with one line that says why, and no traceback."""

    async def is_over() -> bool:
        return not worker.running

    await testbed.until(is_over, 30)
    assert worker.process.returncode == CONFIGURATION_ERROR
    log = testbed.log()
    assert f"els: the consumer group does not accept this worker: {line}" in log
    assert "Traceback" not in log


async def refused(testbed: ConsumerTestbed, worker: EffectsWorkerProcess, name: str) -> None:
    """Wait until readiness names the error; the worker is alive."""

    async def is_named() -> bool:
        _, body = await worker.get("/readyz")
        reasons = {reason["code"]: reason["detail"] for reason in body.get("reasons", ())}
        return str(reasons.get("not_in_group", "")).startswith(f"{name}: ")

    await testbed.until(is_named, 20)
    assert (await worker.get("/livez"))[0] == 200


@asynccontextmanager
async def member(
    testbed: ConsumerTestbed,
    **settings: Any,  # noqa: ANN401 - the options of aiokafka
) -> AsyncIterator[AIOKafkaConsumer]:
    """Join the workers' group with a client of aiokafka, as another application with the same group id does."""
    consumer = AIOKafkaConsumer(
        testbed.prefix + "alpha",
        bootstrap_servers=testbed.broker,
        group_id=testbed.group,
        enable_auto_commit=False,
        **settings,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def test_a_session_timeout_outside_of_the_brokers_limits_ends_the_worker(testbed: ConsumerTestbed) -> None:
    worker = testbed.start(faust_broker_session_timeout=0.5, faust_broker_heartbeat_interval=0.1)

    await ended(testbed, worker, line="InvalidSessionTimeoutError: ELS_SESSION_TIMEOUT_SECONDS must lie between")


async def test_a_worker_joins_when_a_member_with_another_assignor_has_left(testbed: ConsumerTestbed) -> None:
    await testbed.produce(SOME)
    async with member(testbed, partition_assignment_strategy=[RangePartitionAssignor]):
        worker = testbed.start()
        await refused(testbed, worker, "InconsistentGroupProtocolError")
    await testbed.all_processed_once()
    await testbed.ready(worker)


async def test_of_two_workers_with_one_static_identity_the_older_ends(testbed: ConsumerTestbed) -> None:
    older = testbed.start(faust_consumer_group_instance_id="same")
    await testbed.ready(older)
    newer = testbed.start(faust_consumer_group_instance_id="same")

    await ended(testbed, older, line="FencedInstanceIdError: another worker has the same group instance id")

    await testbed.produce(SOME)
    await testbed.all_processed_once()
    await testbed.ready(newer)


async def test_a_static_member_whose_commit_fails_for_several_partitions_leaves_its_place_to_the_newer(
    testbed: ConsumerTestbed,
) -> None:
    # No heartbeat fails before the commit does.
    static = {"group_instance_id": "same", "session_timeout_ms": 30_000, "heartbeat_interval_ms": 20_000}
    async with member(testbed, **static) as older, member(testbed, **static) as newer:
        keep_static_member_id(older)
        with pytest.raises(CommitFailedError):
            await older.commit(dict.fromkeys(older.assignment(), 0))

        await until(lambda: coordination_error(older) is not None)

        assert "FencedInstanceId" in repr(coordination_error(older))
        await newer.commit(dict.fromkeys(newer.assignment(), 0))


@pytest.mark.long
async def test_a_worker_joins_a_full_group_when_there_is_a_place(
    testbed: ConsumerTestbed, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(kafka, "PROPERTIES", kafka.PROPERTIES + "group.max.size=1\n")
        await servers.kafka.kill()
        await servers.kafka.start()
    try:
        first = testbed.start()
        await testbed.ready(first)
        second = testbed.start()
        await refused(testbed, second, "GroupMaxSizeReachedError")
        await first.stop()
        await testbed.produce(SOME)
        await testbed.all_processed_once()
        await testbed.ready(second)
    finally:
        await testbed.end()
        await servers.kafka.kill()
        await servers.kafka.start()
