"""Changes of the input topics while traffic goes on, where no promise depends on what they remove."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from els_stream.demo.random_source import RandomSource
from els_stream.events.topics import CONTENT_PROVISIONED, INPUT_TOPICS
from els_stream.kafka.topics import TOPICS, TopicPlan, delete_topics, ensure_topics, partition_counts
from tests.support import compaction
from tests.support.demo_environment import DemoEnvironment
from tests.support.servers_away import TEMPORARY, persistently
from tests.support.waiting import until

COMPACTION_SECONDS: Final = 30.0
COUNT_INTERVAL_SECONDS: Final = 0.5
PLANS: Final = {plan.topic: plan for plan in TOPICS}


class Change(StrEnum):
    RAISE = "partition added"
    EXPIRE = "handled records expired"
    RECREATE = "topic made anew"
    COMPACT = "topic compacted"

    @property
    def needs_pause(self) -> bool:
        """Whether all that was sent must be handled before, as the change removes records."""
        return self in {Change.RECREATE, Change.COMPACT}


class TopicChanges:
    """Changes one input topic at a time; the random source chooses it."""

    def __init__(self, env: DemoEnvironment, rng: RandomSource) -> None:
        self._env = env
        self._rng = rng

    async def use_append_time(self) -> None:
        """Let the broker set the timestamps in half of the topics."""
        for topic in self._rng.sample(range(len(INPUT_TOPICS)), len(INPUT_TOPICS) // 2):
            plan = PLANS[INPUT_TOPICS[topic]]
            config = {**plan.config(1), "message.timestamp.type": "LogAppendTime"}
            resource = ConfigResource(ConfigResourceType.TOPIC, self._name(plan.topic), config)
            async with self._env.admin() as admin:
                await admin.alter_configs([resource])

    async def partitions(self) -> int:
        """Return how many partitions every input topic has at least."""
        names = [self._name(topic) for topic in INPUT_TOPICS]
        return min((await partition_counts(self._env.settings.broker, names)).values())

    async def cause(self, change: Change) -> bool:
        """Return whether the change was made: a topic whose keys are all different can't be compacted."""
        topic = self._rng.choice(INPUT_TOPICS)
        match change:
            case Change.RAISE:
                await self._raise(topic)
            case Change.EXPIRE:
                await persistently(self._expire)
            case Change.RECREATE:
                await self._recreate(PLANS[topic])
            case Change.COMPACT:
                return await self._compact(self._name(CONTENT_PROVISIONED))
        return True

    async def _raise(self, topic: str) -> None:
        name = self._name(topic)
        wanted = await self._partitions(name) + 1

        async def raised() -> None:
            if await self._partitions(name) < wanted:
                async with self._env.admin() as admin:
                    await admin.create_partitions({name: NewPartitions(wanted)})

        await persistently(raised)

    async def _expire(self) -> None:
        """Delete what the service has handled, with the transaction markers after it, as retention does."""
        handled = await self._env.read_offsets()
        ends = await self._env.end_offsets()
        through = {tp: min(handled.get(tp, 0), end) for tp, end in ends.items()}
        async with self._env.admin() as admin:
            await admin.delete_records(
                {TopicPartition(*tp): RecordsToDelete(offset) for tp, offset in through.items() if offset}
            )

    async def _recreate(self, plan: TopicPlan) -> None:
        """Delete the topic and make it again, empty; wait until the service reads it from its beginning."""
        env, name = self._env, self._name(plan.topic)
        partitions = await self._partitions(name)
        before = sum([end for tp, end in (await persistently(env.stored_offsets)).items() if tp.topic == name])
        await persistently(lambda: delete_topics(env.settings.broker, [name]))

        async def empty() -> bool:
            try:
                await ensure_topics(env.settings.broker, env.settings.topic_prefix, partitions, topics=[plan])
                ends = await env.end_offsets()
                stored = await env.stored_offsets()
            except TEMPORARY:
                return False
            return not any(ends[tp] for tp in ends if tp.topic == name) and not any(
                offset for tp, offset in stored.items() if tp.topic == name
            )

        await env.until(empty)
        env.handled_in_deleted_topics += before

    async def _compact(self, name: str) -> bool:
        """Let the broker remove all records but the last of each key, of a topic to which nothing writes."""
        env = self._env
        before = await persistently(lambda: compaction.count(env, name))
        await persistently(lambda: compaction.begin(env, name))

        async def cleaned() -> bool:
            try:
                return await compaction.count(env, name) < before
            except TEMPORARY:
                return False

        try:
            await until(cleaned, seconds=COMPACTION_SECONDS, every=COUNT_INTERVAL_SECONDS)
        except TimeoutError:
            return False
        else:
            return True
        finally:
            await persistently(lambda: compaction.end(env, name))

    async def _partitions(self, name: str) -> int:
        counts = await persistently(lambda: partition_counts(self._env.settings.broker, [name]))
        return counts[name]

    def _name(self, topic: str) -> str:
        return self._env.settings.topic_prefix + topic
