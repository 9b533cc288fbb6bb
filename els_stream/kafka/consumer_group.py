"""The owners of the consumer group's partitions as the broker knows them; a worker knows only its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from els_stream.kafka import admin
from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.clients import AIOKafkaAdminClient
from els_stream.kafka.offsets import Partition

DESCRIBE_TIMEOUT_SECONDS: Final = 3.0
TOPIC_REFUSED: Final = TopicAuthorizationFailedError.errno
TOPIC_UNKNOWN: Final = UnknownTopicOrPartitionError.errno


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A worker as the broker sees it: the address that it connects from, and how many partitions it owns."""

    host: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Ownership:
    """All partitions, and those that have an owner. `state` is Kafka's name of the group's state."""

    state: str
    partitions: frozenset[Partition]
    owned: frozenset[Partition]
    missing: tuple[str, ...] = ()  # topics without partitions
    members: frozenset[str] = frozenset()  # their ids
    missing_outputs: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # topics that this user has no right on
    workers: tuple[GroupMember, ...] = ()  # the same, as the page shows them


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No broker answered in time; `cause` says why, or is the name of the error's type."""

    cause: str


@dataclass(frozen=True, slots=True)
class GroupRefused:
    """This user has no right on the group."""

    group: str


class ConsumerGroup:
    """A consumer group and its topics (under the broker's names). For one caller at a time.

    `outputs` are topics that must exist, and whose rights are checked too.
    """

    def __init__(self, broker: BrokerAddress, group: str, topics: Iterable[str], outputs: Iterable[str] = ()) -> None:
        self._broker = broker
        self._group = group
        self._topics = list(topics)
        self._outputs = frozenset(outputs)
        self._client: AIOKafkaAdminClient | None = None

    async def describe(self) -> Ownership | GroupRefused | Unreachable:
        """Read the ownership from the broker. Never raises; returns within about DESCRIBE_TIMEOUT_SECONDS."""
        try:
            async with asyncio.timeout(DESCRIBE_TIMEOUT_SECONDS):
                return await self._describe()
        except GroupAuthorizationFailedError:
            return GroupRefused(self._group)
        except admin.CONNECTION_ERRORS as error:
            cause = None if self._client is None else self._client.connections.cause
            await self.close()
            return Unreachable(cause or type(error).__name__)

    async def close(self) -> None:
        """Close the connection; the next `describe` opens another."""
        client, self._client = self._client, None
        if client is not None:
            await admin.close(client)

    async def _describe(self) -> Ownership:
        if self._client is None:
            self._client = AIOKafkaAdminClient(bootstrap_servers=self._broker)
            await self._client.start()
        described = await self._client.describe_topics([*self._topics, *self._outputs])
        topics = [topic for topic in described if topic["topic"] not in self._outputs]
        refused = tuple(topic["topic"] for topic in described if topic["error_code"] == TOPIC_REFUSED)
        unknown = {topic["topic"] for topic in described if topic["error_code"] == TOPIC_UNKNOWN}
        (answer,) = await self._client.describe_consumer_groups([self._group])
        (group,) = answer.groups
        # aiokafka returns untyped tuples; every version of the protocol begins with these fields and adds to the end.
        _, _, state, _, _, members, *_ = group
        return Ownership(
            state=state,
            partitions=frozenset(Partition(t["topic"], p["partition"]) for t in topics for p in t["partitions"]),
            owned=frozenset(partition for member in members for partition in _assigned(member[4])),
            members=frozenset(member[0] for member in members),
            missing=tuple(t["topic"] for t in topics if not t["partitions"] and t["topic"] not in refused),
            missing_outputs=tuple(sorted(unknown & self._outputs)),
            refused=refused,
            workers=tuple(GroupMember(member[2].lstrip("/"), len(_assigned(member[4]))) for member in members),
        )


def _assigned(assignment: bytes) -> list[Partition]:
    if not assignment:
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [Partition(*partition) for partition in decoded.partitions()]
