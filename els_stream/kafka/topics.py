"""The topics of the service on the broker: their intended configuration, creation, description and deletion.

Existing topics are never changed: with more partitions the next event of a batch would go to another partition than
the one before, and a configuration may be intended. Differences are reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError

from els_stream.errors import ServersUnavailable
from els_stream.events.topics import DEAD_LETTER, INPUT_TOPICS, OUTPUT_TOPICS
from els_stream.kafka.admin import CONNECTION_ERRORS, admin_client
from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.clients import AIOKafkaAdminClient
from els_stream.kafka.offsets import Partition
from els_stream.kafka.topic_harms import DAY_MS, GUEST_RETENTION_DAYS, Setting, harm_of, remedy_for

MIB: Final = 1024 * 1024
LEADER_TIMEOUT_SECONDS: Final = 30.0
POLL_INTERVAL_SECONDS: Final = 0.05
DESCRIBE_TIMEOUT_SECONDS: Final = 3.0
TOPIC_EXISTS: Final = 36
REFUSED: Final = TopicAuthorizationFailedError.errno
UNKNOWN_TOPIC: Final = 3
MIN_REPLICAS_FOR_TWO_IN_SYNC: Final = 3


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """The intended configuration of a topic. `max_bytes` limits a record: events of large batches are large."""

    topic: str
    retention_days: int
    max_bytes: int

    def config(self, replication_factor: int) -> dict[str, str]:
        """Return the topic configuration, by the names of Kafka."""
        return {
            "cleanup.policy": "delete",
            "max.message.bytes": str(self.max_bytes),
            "min.insync.replicas": "2" if replication_factor >= MIN_REPLICAS_FOR_TWO_IN_SYNC else "1",
            "retention.ms": str(self.retention_days * DAY_MS),
        }


TOPICS: Final = (
    *(TopicPlan(topic, retention_days=7, max_bytes=MIB + 64 * 1024) for topic in INPUT_TOPICS),
    *(TopicPlan(topic, retention_days=7, max_bytes=16 * MIB) for topic in OUTPUT_TOPICS),
    TopicPlan(DEAD_LETTER, retention_days=GUEST_RETENTION_DAYS, max_bytes=16 * MIB),
)


@dataclass(frozen=True, slots=True)
class Created:
    """The topic did not exist and was created."""

    topic: str


@dataclass(frozen=True, slots=True)
class Present:
    """The topic exists as intended."""

    topic: str


@dataclass(frozen=True, slots=True)
class Different:
    """The topic exists with another configuration; each difference reads `name: actual, not intended`.

    `harms` are those that do harm: `name: what goes wrong; what to do`.
    """

    topic: str
    differences: tuple[str, ...]
    harms: tuple[str, ...] = ()


TopicState = Created | Present | Different


async def ensure_topics(
    broker: BrokerAddress,
    prefix: str = "",
    partitions: int = 4,
    replication_factor: int = 1,
    topics: Iterable[TopicPlan] = TOPICS,
) -> list[TopicState]:
    """Create missing topics; return the state of each once all have a leader. Raises ServersUnavailable."""
    plans = {prefix + plan.topic: plan for plan in topics}
    async with admin_client(broker) as admin:
        created = await _create(admin, plans, partitions, replication_factor)
        found = await _wait_for_leaders(admin, list(plans))
        configs = await _configs(admin, list(plans))
    states: list[TopicState] = []
    for name, plan in plans.items():
        wanted = {"partitions": str(partitions), **plan.config(replication_factor)}
        have = {"partitions": str(found[name]), **configs[name]}
        states.append(Created(name) if name in created else _compare(broker, name, plan.topic, wanted, have))
    return states


async def partition_counts(broker: BrokerAddress, names: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each of these topics that exists.

    Raises ServersUnavailable, also for topics that this user has no right on: they are not taken for missing ones.
    """
    async with admin_client(broker) as admin:
        found = await admin.describe_topics(list(names))
    for topic in found:
        if topic["error_code"] == REFUSED:
            raise ServersUnavailable(f"the broker gives this user no right on the topic {topic['topic']}")
    return {topic["topic"]: len(topic["partitions"]) for topic in found if not topic["error_code"]}


async def missing_topics(broker: BrokerAddress, prefix: str) -> list[str]:
    """Return the names of the service's topics that do not exist. Raises ServersUnavailable."""
    names = [prefix + plan.topic for plan in TOPICS]
    found = await partition_counts(broker, names)
    return [name for name in names if name not in found]


async def list_partitions(broker: BrokerAddress, names: Sequence[str]) -> frozenset[Partition]:
    """Return all partitions of these topics; raises ServersUnavailable after DESCRIBE_TIMEOUT_SECONDS."""
    try:
        async with asyncio.timeout(DESCRIBE_TIMEOUT_SECONDS):
            counts = await partition_counts(broker, names)
    except CONNECTION_ERRORS as error:
        raise ServersUnavailable(f"the broker {broker} does not answer: {type(error).__name__}") from error
    return frozenset(Partition(topic, number) for topic, count in counts.items() for number in range(count))


async def delete_topics(broker: BrokerAddress, names: Sequence[str]) -> None:
    """Delete the topics with their records; missing topics are ignored. Raises ServersUnavailable."""
    async with admin_client(broker) as admin:
        answer = await admin.delete_topics(list(names))
        _check_results(answer.topic_error_codes, "delete", allowed=UNKNOWN_TOPIC)


async def _create(
    admin: AIOKafkaAdminClient, plans: dict[str, TopicPlan], partitions: int, replication_factor: int
) -> set[str]:
    answer = await admin.create_topics(
        [
            NewTopic(name, partitions, replication_factor, topic_configs=plan.config(replication_factor))
            for name, plan in plans.items()
        ]
    )
    return _check_results(answer.topic_errors, "create", allowed=TOPIC_EXISTS)


def _compare(broker: BrokerAddress, name: str, topic: str, wanted: dict[str, str], have: dict[str, str]) -> TopicState:
    differing = [Setting(topic, key, have.get(key), value) for key, value in wanted.items() if have.get(key) != value]
    if not differing:
        return Present(name)
    return Different(
        name,
        tuple(f"{setting.name}: {setting.actual}, not {setting.intended}" for setting in differing),
        tuple(
            f"{setting.name}: {harm}; {remedy_for(setting, name, broker)}"
            for setting in differing
            if (harm := harm_of(setting)) is not None
        ),
    )


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each topic once every partition has a leader."""
    try:
        async with asyncio.timeout(LEADER_TIMEOUT_SECONDS):
            while True:
                found = await admin.describe_topics(list(names))
                leaders = [partition["leader"] for topic in found for partition in topic["partitions"]]
                if not any(topic["error_code"] for topic in found) and min(leaders, default=-1) >= 0:
                    return {topic["topic"]: len(topic["partitions"]) for topic in found}
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
    except TimeoutError as error:
        raise ServersUnavailable(f"topics have no leader after {LEADER_TIMEOUT_SECONDS:.0f} s") from error


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for resource in answer.to_object()["resources"]:
            if resource["error_code"] == REFUSED:
                name = resource["resource_name"]
                raise ServersUnavailable(f"the broker gives this user no right DESCRIBE_CONFIGS on the topic {name}")
            entries = {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
            found[resource["resource_name"]] = entries
    return found


def _check_results(results: Iterable[Sequence[Any]], action: str, allowed: int) -> set[str]:
    """Return the names for which the action succeeded; raise ServersUnavailable for any error code but `allowed`."""
    done: set[str] = set()
    for name, code, *message in results:
        if code == 0:
            done.add(name)
        elif code != allowed:
            reason = " ".join(map(str, message))
            raise ServersUnavailable(f"the broker refuses to {action} {name}: error {code} {reason}")
    return done
