"""The ledger with the whole domain: workers come, go and sleep, logs and group offsets change under them.

Traffic is sent in two halves, with something happening between or meanwhile; batches lie across both. After each:
no violation, no broken promise.
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
# All that a record without effect would leave behind.
TRACES = """
    SELECT (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM event_outbox)
         + (SELECT count(*) FROM batch_pending_events) + (SELECT sum(pending_count + next_sequence)
            FROM batch_essay_trackers) + (SELECT last_value FROM pg_sequences WHERE sequencename LIKE 'event_outbox%')
"""


@pytest.fixture
def traffic() -> Traffic:
    return make_traffic(seed=8, batches=48, largest=30, mix=MIX)


@pytest.fixture
def halves(traffic: Traffic) -> tuple[Sequence[Message], Sequence[Message]]:
    middle = len(traffic.messages) // 2
    return traffic.messages[:middle], traffic.messages[middle:]


def noise(count: int) -> list[Message]:
    """What would become dead letters, if anybody read it."""
    return [Message(CONTENT_PROVISIONED, b"noise-%d" % number, b"noise") for number in range(count)]


async def move_group(scene: DemoEnvironment, offsets: dict[Partition, int]) -> None:
    """While no worker runs, as an operator would: the broker takes it once it knows that nobody is left."""
    await scene.members(0)
    async with scene.consumer(group_id=scene.settings.consumer_group) as consumer:
        consumer.assign([TopicPartition(*partition) for partition in offsets])
        await consumer.commit({TopicPartition(*tp): OffsetAndMetadata(end, "") for tp, end in offsets.items()})


async def forget_before(scene: DemoEnvironment, offsets: dict[Partition, int]) -> None:
    """Kafka deletes what lies before these, as retention does."""
    async with scene.admin() as admin:
        await admin.delete_records({TopicPartition(*tp): RecordsToDelete(end) for tp, end in offsets.items()})


async def test_two_three_and_four_workers_share_the_work_as_they_come_and_go(
    scene: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    first, second = halves
    crew = scene.crew
    crew.set(micro_batch_records=20)
    oldest = crew.start()
    crew.start()
    await scene.send(first)
    await scene.handled(len(first) // 3)
    crew.start()
    crew.start()
    await scene.members(4)
    assert await crew.stop(oldest) == 0
    await scene.send(second)
    await scene.members(3)
    await scene.all_handled()

    assert await scene.wrong(traffic) == []


@pytest.mark.parametrize(
    "workers", [pytest.param(2, marks=pytest.mark.long), 3, pytest.param(4, marks=pytest.mark.long)]
)
async def test_a_worker_that_slept_beyond_its_session_doubles_nothing(
    scene: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]], workers: int
) -> None:
    first, second = halves
    crew = scene.crew
    crew.set(micro_batch_records=20)
    for _ in range(workers):
        crew.start()
    await scene.members(workers)
    await scene.send(first)
    await scene.handled(len(first) // 4)
    sleeper = crew.workers[0]
    crew.freeze(sleeper)
    await scene.members(workers - 1)
    await scene.handled(len(first))
    crew.wake(sleeper)
    await scene.send(second)
    await scene.members(workers)
    await scene.all_handled()

    assert await scene.wrong(traffic) == []


async def test_the_group_moved_ahead_or_to_the_beginning_changes_nothing(
    scene: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    first, second = halves
    crew = scene.crew
    crew.start()
    await scene.send(first)
    await scene.all_handled()
    await crew.stop_all()
    await scene.send(second)
    ends = dict(await scene.ends())
    await move_group(scene, ends)
    crew.start()
    crew.start()
    await scene.all_handled()
    await crew.stop_all()
    traces = await scene.ask(TRACES)

    await move_group(scene, dict.fromkeys(ends, 0))
    crew.start()
    crew.start()

    async def the_group_is_told_again() -> bool:
        return await scene.told_group() == ends

    await scene.until(the_group_is_told_again)
    assert await scene.ask(TRACES) == traces
    assert await scene.wrong(traffic) == []


async def test_what_kafka_deleted_is_passed_over_handled_or_not(
    scene: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    first, second = halves
    crew = scene.crew
    crew.start()
    await scene.send(first)
    await scene.all_handled()
    await crew.stop_all()
    # One topic loses what was handled and what was not, the others just what was handled.
    await scene.send(noise(40))
    cut = dict(await scene.ends())
    await scene.send(second)
    await forget_before(scene, cut)
    crew.start()
    crew.start()
    await scene.all_handled()

    assert await scene.wrong(traffic) == []


async def test_a_log_with_holes_is_read_on_behind_them(
    scene: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]]
) -> None:
    """Compaction takes handled records away; an aborted transaction leaves offsets that nobody ever reads."""
    first, second = halves
    crew = scene.crew
    crew.start()
    await scene.send(first)
    await scene.all_handled()
    await crew.stop_all()
    holes = await compaction.compact(scene, CONTENT_PROVISIONED)
    await scene.send(second)
    crew.start()
    crew.start()
    await scene.all_handled()

    assert holes > 0
    assert await scene.wrong(traffic) == []


@pytest.mark.parametrize(
    "anew",
    [pytest.param((CONTENT_PROVISIONED,), marks=pytest.mark.long), (CONTENT_PROVISIONED, BATCH_REGISTERED)],
    ids=["one", "two"],
)
async def test_topics_made_anew_under_running_workers_are_read_from_their_beginning(
    scene: DemoEnvironment, traffic: Traffic, halves: tuple[Sequence[Message], Sequence[Message]], anew: tuple[str, ...]
) -> None:
    first, second = halves
    crew = scene.crew
    crew.start()
    crew.start()
    await scene.send(first)
    await scene.all_handled()
    await scene.owned(*INPUT_TOPICS)
    await delete_topics(scene.settings.broker, [scene.settings.topic_prefix + topic for topic in anew])
    await scene.owned(*(topic for topic in INPUT_TOPICS if topic not in anew))
    await ensure_topics(scene.settings.broker, scene.settings.topic_prefix)
    await scene.send(second)
    await scene.all_handled()

    assert await scene.wrong(traffic) == []
