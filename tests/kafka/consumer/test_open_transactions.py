"""An upstream producer whose transaction stays open: its partition waits and is named, and the worker stays alive."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import text

from tests.support.consumer_testbed import ConsumerTestbed
from tests.support.effects_worker_process import EffectsWorkerProcess

WAITS = "can't be read until it ends"
STATE = text("""
    SELECT next_offset, watermark_at, watermark_at >= CAST(:since AS timestamptz) AS later, now() AS now
    FROM consumed_offsets WHERE partition = 0
""")


@pytest.fixture
async def upstream(testbed: ConsumerTestbed) -> AsyncIterator[AIOKafkaProducer]:
    transactional_id = f"{testbed.group}-upstream"
    async with AIOKafkaProducer(
        bootstrap_servers=testbed.broker, transactional_id=transactional_id, transaction_timeout_ms=60_000
    ) as producer:
        yield producer


async def readiness(worker: EffectsWorkerProcess) -> dict[str, str]:
    """Return the details of `/readyz` by code."""
    _, body = await worker.get("/readyz")
    return {str(reason["code"]): str(reason["detail"]) for reason in body.get("reasons", ())}


async def test_a_worker_waits_for_an_open_transaction_alive_and_without_a_watermark(
    testbed: ConsumerTestbed, upstream: AIOKafkaProducer
) -> None:
    await testbed.produce(["before"] * 3, partition=0)
    await upstream.begin_transaction()
    await upstream.send_and_wait(testbed.prefix + "alpha", b"held", partition=0)
    await testbed.produce(["behind"] * 2, partition=0)
    worker = testbed.start(liveness_stall_seconds=1)
    await testbed.wait_for_effects(3)
    async with testbed.engine.connect() as conn:
        opened = (await conn.execute(STATE, {"since": None})).one()

    async def is_named() -> bool:
        return WAITS in (await readiness(worker)).get("open_transaction", "")

    async def is_logged() -> bool:
        return WAITS in testbed.log()

    await testbed.until(is_named, 30)
    detail = (await readiness(worker))["open_transaction"]
    assert detail.startswith(f"{testbed.prefix}alpha/0: an upstream transaction has been open for 1")
    assert "3 records from offset 3 on" in detail
    assert await worker.get("/livez") == (200, {"status": "ok", "reasons": []})
    await testbed.until(is_logged, 10)
    async with testbed.engine.connect() as conn:
        state = (await conn.execute(STATE, {"since": opened.now})).one()
    assert (state.next_offset, state.watermark_at) == (3, None)

    await upstream.commit_transaction()
    await testbed.wait_for_effects(6)

    async def has_watermark() -> bool:
        async with testbed.engine.connect() as conn:
            return bool((await conn.execute(STATE, {"since": opened.now})).one().later)

    await testbed.until(has_watermark, 20)
    await testbed.ready(worker)
