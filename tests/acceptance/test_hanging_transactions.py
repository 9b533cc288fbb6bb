"""A chaos run ends a transaction of an upstream producer that nothing else ends."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from els_stream.events.topics import VALIDATION_FAILED
from tests.support import demo_environment
from tests.support.demo_environment import DemoEnvironment
from tests.support.hanging_transactions import abort_transaction, open_transactions
from tests.support.upstream import Upstream

LONGER_THAN_THE_TEST_MS = 600_000


async def test_transactions_that_stay_open_are_aborted_and_counted(
    env: DemoEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, prefix = str(env.settings.broker), env.settings.topic_prefix
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "transactional.id": prefix,
            "transaction.timeout.ms": LONGER_THAN_THE_TEST_MS,
            "log_level": 0,
        }
    )
    await asyncio.to_thread(producer.init_transactions)
    producer.begin_transaction()
    for partition in range(2):
        producer.produce(prefix + VALIDATION_FAILED, b"never committed", partition=partition)
    await asyncio.to_thread(producer.flush)
    upstream = Upstream(env, 1, 0.0, 0)
    found = await open_transactions(broker, await env.end_offsets())
    assert len(found) == 2

    monkeypatch.setattr(demo_environment, "MAX_IDLE_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match=rf"no progress at 0 records; .*{VALIDATION_FAILED}/1: None, 0, 1'"):
        await env.until_all_handled()

    await upstream.abort_hanging()

    assert not await open_transactions(broker, await env.end_offsets())
    assert upstream.counts["hanging transactions aborted"] == 2
    ended, start = next(iter(found.items()))
    assert not await abort_transaction(broker, ended, start)
