"""The topics on the broker: one table of what each must be, and the command that makes them so.

What exists is never changed here: more partitions would send a batch's next event to another partition than the one
before, and a setting that someone chose on purpose is theirs. A difference is said, not mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from els_stream.errors import ServersUnavailable
from els_stream.events.topics import DEAD_LETTER, INPUT_TOPICS, OUTPUT_TOPICS

MIB: Final = 1024 * 1024
DAY_MS: Final = 24 * 60 * 60 * 1000
VISIBLE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
TOPIC_EXISTS: Final = 36
UNKNOWN_TOPIC: Final = 3
REPLICAS_THAT_SPARE_ONE: Final = 3
# What guests upload is purged after this long, so no copy of it may stay longer where nothing purges.
GUEST_RETENTION_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """`max_bytes` is the largest record that the broker takes; a batch of many essays makes one large event."""

    topic: str
    retention_days: int
    max_bytes: int

    def config(self, replication_factor: int) -> dict[str, str]:
        return {
            "cleanup.policy": "delete",
            "max.message.bytes": str(self.max_bytes),
            "min.insync.replicas": "2" if replication_factor >= REPLICAS_THAT_SPARE_ONE else "1",
            "retention.ms": str(self.retention_days * DAY_MS),
        }


TOPICS: Final = (
    *(TopicPlan(topic, retention_days=7, max_bytes=MIB + 64 * 1024) for topic in INPUT_TOPICS),
    *(TopicPlan(topic, retention_days=7, max_bytes=16 * MIB) for topic in OUTPUT_TOPICS),
    TopicPlan(DEAD_LETTER, retention_days=GUEST_RETENTION_DAYS, max_bytes=16 * MIB),
)


@dataclass(frozen=True, slots=True)
class Created:
    topic: str


@dataclass(frozen=True, slots=True)
class Present:
    topic: str


@dataclass(frozen=True, slots=True)
class Different:
    """Each difference reads `name: what the broker has, not what the table says`."""

    topic: str
    differences: tuple[str, ...]


TopicState = Created | Present | Different


async def ensure_topics(
    broker: str,
    prefix: str = "",
    partitions: int = 4,
    replication_factor: int = 1,
    topics: Iterable[TopicPlan] = TOPICS,
) -> list[TopicState]:
    """Creates what is missing and returns once every topic can be used; repeating it changes nothing."""
    plans = {prefix + plan.topic: plan for plan in topics}
    async with _admin(broker) as admin:
        created = await _create(admin, plans, partitions, replication_factor)
        found = await _visible(admin, list(plans))
        configs = await _configs(admin, list(plans))
    states: list[TopicState] = []
    for name, plan in plans.items():
        wanted = {"partitions": str(partitions), **plan.config(replication_factor)}
        have = {"partitions": str(found[name]), **configs[name]}
        states.append(Created(name) if name in created else _compared(name, wanted, have))
    return states


async def partitions_of(broker: str, names: Sequence[str]) -> dict[str, int]:
    """The number of partitions of each of these topics that exists."""
    async with _admin(broker) as admin:
        found = await admin.describe_topics(list(names))
    return {topic["topic"]: len(topic["partitions"]) for topic in found if not topic["error_code"]}


async def delete_topics(broker: str, names: Sequence[str]) -> None:
    """Removes the topics with all they hold; those that do not exist are no error."""
    async with _admin(broker) as admin:
        answer = await admin.delete_topics(list(names))
        _accepted(answer.topic_error_codes, "delete", allowed=UNKNOWN_TOPIC)


async def _create(
    admin: AIOKafkaAdminClient, plans: dict[str, TopicPlan], partitions: int, replication_factor: int
) -> set[str]:
    answer = await admin.create_topics(
        [
            NewTopic(name, partitions, replication_factor, topic_configs=plan.config(replication_factor))
            for name, plan in plans.items()
        ]
    )
    return _accepted(answer.topic_errors, "create", allowed=TOPIC_EXISTS)


def _compared(name: str, wanted: dict[str, str], have: dict[str, str]) -> TopicState:
    differing = [key for key in wanted if have.get(key) != wanted[key]]
    if not differing:
        return Present(name)
    return Different(name, tuple(f"{key}: {have.get(key)}, not {wanted[key]}" for key in differing))


async def _visible(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """The number of partitions of each, once all of them have a leader."""
    try:
        async with asyncio.timeout(VISIBLE_SECONDS):
            while True:
                found = await admin.describe_topics(list(names))
                leaders = [partition["leader"] for topic in found for partition in topic["partitions"]]
                if not any(topic["error_code"] for topic in found) and min(leaders, default=-1) >= 0:
                    return {topic["topic"]: len(topic["partitions"]) for topic in found}
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as late:
        raise ServersUnavailable(f"the broker has topics without a leader after {VISIBLE_SECONDS:.0f} s") from late


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for resource in answer.to_object()["resources"]:
            entries = {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
            found[resource["resource_name"]] = entries
    return found


def _accepted(results: Iterable[Sequence[Any]], action: str, allowed: int) -> set[str]:
    """The names that the broker acted on; raises for every refusal but the allowed one."""
    done: set[str] = set()
    for name, code, *message in results:
        if code == 0:
            done.add(name)
        elif code != allowed:
            reason = " ".join(map(str, message))
            raise ServersUnavailable(f"the broker refuses to {action} {name}: error {code} {reason}")
    return done


@asynccontextmanager
async def _admin(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    try:
        await admin.start()
        yield admin
    except KafkaError as error:
        raise ServersUnavailable(f"the broker {broker} does not answer: {error}") from error
    finally:
        await admin.close()
