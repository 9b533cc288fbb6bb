"""Who owns the partitions of the consumer group, as the broker sees it: no worker knows that of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from els_stream.kafka.offsets import Partition

DESCRIBE_TIMEOUT_SECONDS: Final = 3.0
CLOSE_TIMEOUT_SECONDS: Final = 0.5
# uvloop refuses to write to a connection that was just lost with a RuntimeError.
CONNECTION_ERRORS: Final = (KafkaError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Ownership:
    """`state` is the broker's word for the group's; `missing` topics have no partitions to own."""

    state: str
    partitions: frozenset[Partition]
    owned: frozenset[Partition]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No broker answered in time; `cause` is the name of the error's type."""

    cause: str


class ConsumerGroup:
    """`topics` as the broker knows them. One caller at a time.

    `partitions` are those of its topics when it was last described; none when no broker answered.
    """

    def __init__(self, broker: str, group: str, topics: Iterable[str]) -> None:
        self._broker = broker
        self._group = group
        self._topics = list(topics)
        self._admin: AIOKafkaAdminClient | None = None
        self.partitions: frozenset[Partition] = frozenset()

    async def describe(self) -> Ownership | Unreachable:
        """Ask the broker who owns which partition. Never raises; answers within DESCRIBE_TIMEOUT_SECONDS."""
        try:
            async with asyncio.timeout(DESCRIBE_TIMEOUT_SECONDS):
                ownership = await self._describe()
        except CONNECTION_ERRORS as error:
            self.partitions = frozenset()
            await self.close()
            return Unreachable(type(error).__name__)
        self.partitions = ownership.partitions
        return ownership

    async def close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await admin.close()
            except CONNECTION_ERRORS:
                return

    async def _describe(self) -> Ownership:
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._broker)
            await self._admin.start()
        topics = await self._admin.describe_topics(self._topics)
        (answer,) = await self._admin.describe_consumer_groups([self._group])
        (group,) = answer.groups
        # Each version of the answer begins with these, and adds to them at its end.
        _, _, state, _, _, members, *_ = group
        return Ownership(
            state=state,
            partitions=frozenset(Partition(t["topic"], p["partition"]) for t in topics for p in t["partitions"]),
            owned=frozenset(partition for member in members for partition in _assigned(member[4])),
            missing=tuple(topic["topic"] for topic in topics if not topic["partitions"]),
        )


def _assigned(assignment: bytes) -> list[Partition]:
    if not assignment:
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [Partition(*partition) for partition in decoded.partitions()]
