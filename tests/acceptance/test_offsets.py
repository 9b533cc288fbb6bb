"""Stored offsets with whole workers, while workers join and leave and while logs and group offsets change.

Traffic is sent in two halves that share batches, with an event in between. Then `verify` and the output are checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import OffsetAndMetadata

from els_stream.demo.expectations import Traffic
from els_stream.demo.messages import Message
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, INPUT_TOPICS
from els_stream.kafka.offsets import Partition
from els_stream.kafka.topics import delete_topics, ensure_topics
from tests.support import compaction
from tests.support.demo_environment import DemoEnvironment

MIX = Mix(late=0.2, refused=0.02)
# Counts that a record changes if it is processed again.
EFFECTS = """
    SELECT (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM outbox_segments)
         + (SELECT count(*) FROM batch_pending_events) + (SELECT sum(pending_count + next_sequence)
            FROM batch_essay_trackers)
         + (SELECT last_value FROM pg_sequences WHERE sequencename LIKE 'outbox_segments%')
"""


@pytest.fixture
def traffic() -> Traffic:
    return make_traffic(seed=8, batches=48, largest=30, mix=MIX)


@pytest.fixture
def halves(traffic: Traffic) -> tuple[Sequence[Message], Sequence[Message]]:
    middle = len(traffic.messages) // 2
    return traffic.messages[:middle], traffic.messages[middle:]


def noise(count: int) -> list[Message]:
    """Return invalid records: each would become a dead letter if it was processed."""
    return [Message(CONTENT_PROVISIONED, b"noise-%d" % number, b"noise") for number in range(count)]


async def move_group(env: DemoEnvironment, offsets: dict[Partition, int]) -> None:
    """Commit group offsets as an operator would; the broker accepts that only from an empty group."""
    await env.until_members(0)
    async with env.consumer(group_id=env.settings.consumer_group) as consumer:
        consumer.assign([TopicPartition(*partition) for partition in offsets])
        await consumer.commit({TopicPartition(*tp): OffsetAndMetadata(end, "") for tp, end in offsets.items()})


async def delete_before(env: DemoEnvironment, offsets: dict[Partition, int]) -> None:
    """Delete all records before these offsets, as Kafka's retention does."""
    async with env.admin() as admin:
        await admin.delete_records({TopicPartition(*tp): RecordsToDelete(end) for tp, end in offsets.items()})


async def test_workers_that_join_and_leave_share_the_partitions(
    env: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    first, second = halves
    pool = env.pool
    pool.set(micro_batch_records=20)
    oldest = pool.start()
    pool.start()
    await env.send(first)
    await env.until_handled(len(first) // 3)
    pool.start()
    pool.start()
    await env.until_members(4)
    assert await pool.stop(oldest) == 0
    await env.send(second)
    await env.until_members(3)
    await env.until_all_handled()

    assert await env.wrong(traffic) == []


@pytest.mark.parametrize(
    "workers", [pytest.param(2, marks=pytest.mark.long), 3, pytest.param(4, marks=pytest.mark.long)]
)
async def test_a_worker_frozen_beyond_its_session_repeats_no_effect(
    env: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]], workers: int
) -> None:
    first, second = halves
    pool = env.pool
    pool.set(micro_batch_records=20)
    for _ in range(workers):
        pool.start()
    await env.until_members(workers)
    await env.send(first)
    await env.until_handled(len(first) // 4)
    frozen = pool.workers[0]
    pool.freeze(frozen)
    await env.until_members(workers - 1)
    await env.until_handled(len(first))
    pool.wake(frozen)
    await env.send(second)
    await env.until_members(workers)
    await env.until_all_handled()

    assert await env.wrong(traffic) == []


async def test_group_offsets_moved_ahead_or_back_change_nothing(
    env: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    first, second = halves
    pool = env.pool
    pool.start()
    await env.send(first)
    await env.until_all_handled()
    await pool.stop_all()
    await env.send(second)
    ends = dict(await env.end_offsets())
    await move_group(env, ends)
    pool.start()
    pool.start()
    await env.until_all_handled()
    await pool.stop_all()
    effects = await env.ask(EFFECTS)

    await move_group(env, dict.fromkeys(ends, 0))
    pool.start()
    pool.start()

    async def group_offsets_are_committed_again() -> bool:
        return await env.committed_offsets() == ends

    await env.until(group_offsets_are_committed_again)
    assert await env.ask(EFFECTS) == effects
    assert await env.wrong(traffic) == []


async def test_deleted_records_are_skipped_whether_processed_or_not(
    env: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    first, second = halves
    pool = env.pool
    pool.start()
    await env.send(first)
    await env.until_all_handled()
    await pool.stop_all()
    # One topic loses processed and unprocessed records, the others only processed ones.
    await env.send(noise(40))
    cut = dict(await env.end_offsets())
    await env.send(second)
    await delete_before(env, cut)
    pool.start()
    pool.start()
    await env.until_all_handled()

    assert await env.wrong(traffic) == []


async def test_a_log_with_offset_gaps_is_read_to_its_end(
    env: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    """Compaction removes processed records; an aborted transaction leaves offsets without a record."""
    first, second = halves
    pool = env.pool
    pool.start()
    await env.send(first)
    await env.until_all_handled()
    await pool.stop_all()
    removed = await compaction.compact(env, CONTENT_PROVISIONED)
    await env.send(second)
    pool.start()
    pool.start()
    await env.until_all_handled()

    assert removed > 0
    assert await env.wrong(traffic) == []


@pytest.mark.parametrize(
    "recreated",
    [pytest.param((CONTENT_PROVISIONED,), marks=pytest.mark.long), (CONTENT_PROVISIONED, BATCH_REGISTERED)],
    ids=["one", "two"],
)
async def test_topics_recreated_under_running_workers_are_read_from_the_start(
    env: DemoEnvironment,
    traffic: Traffic,
    halves: tuple[Sequence[Message], Sequence[Message]],
    recreated: tuple[str, ...],
) -> None:
    first, second = halves
    pool = env.pool
    pool.start()
    pool.start()
    await env.send(first)
    await env.until_all_handled()
    await env.until_owned(*INPUT_TOPICS)
    await delete_topics(env.settings.broker, [env.settings.topic_prefix + topic for topic in recreated])
    await env.until_owned(*(topic for topic in INPUT_TOPICS if topic not in recreated))
    await ensure_topics(env.settings.broker, env.settings.topic_prefix)
    await env.send(second)
    await env.until_all_handled()

    assert await env.wrong(traffic) == []
