"""Topic ids: a topic that was deleted and created again has the same name and another id (KIP-516, Kafka 2.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, Protocol
from uuid import UUID

from aiokafka.errors import KafkaError, StaleMetadata
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from els_stream.kafka.partition_read import KafkaClient

METADATA: Final = 3
# The first version that returns topic ids. aiokafka itself stops at 5.
VERSION: Final = 10
UNKNOWN: Final = UUID(int=0)
BROKER_TIMEOUT_SECONDS: Final = 1.0


class UuidType(AbstractType[bytes]):
    """A UUID of Kafka's protocol: 16 bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Readable) -> bytes:
        return data.read(16)


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


class TopicIdsResponse(Response):
    API_KEY = METADATA
    API_VERSION = VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", UuidType),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class TopicIdsStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = METADATA
    API_VERSION = VERSION
    RESPONSE_TYPE = TopicIdsResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", UuidType), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[TopicIdsStruct]):
    """Metadata of topics, which creates none of them."""

    API_KEY = METADATA

    def __init__(self, topics: Collection[str]) -> None:
        self._topics: list[tuple[bytes, str, dict[int, bytes]]] = [(UNKNOWN.bytes, topic, {}) for topic in topics]

    def build(self, request_struct_class: type[TopicIdsStruct]) -> TopicIdsStruct:
        return request_struct_class(self._topics, False, False, False, {})  # noqa: FBT003 - positional in the protocol


async def read_topic_ids(client: KafkaClient, topics: Collection[str]) -> dict[str, UUID]:
    """Return the ids of these topics, without those that do not exist; empty for brokers without topic ids.

    All brokers are asked: one may still have the metadata of before a deletion. Those that are away do not count.
    Raises StaleMetadata while they disagree.
    """
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    ids: dict[str, UUID] = {}
    for answer in await asyncio.gather(*(_ask(client, node, topics) for node in nodes)):
        for topic, topic_id in answer.items():
            if ids.setdefault(topic, topic_id) != topic_id:
                raise StaleMetadata(f"brokers have different ids of {topic}")
    return ids


async def _ask(client: KafkaClient, node: int, topics: Collection[str]) -> dict[str, UUID]:
    try:
        async with asyncio.timeout(BROKER_TIMEOUT_SECONDS):
            answer = await client.send(node, TopicIdsRequest(topics))
    except (KafkaError, OSError, NotImplementedError):  # the last one: the broker has no such version
        return {}
    ids = {name: UUID(bytes=topic_id) for error_code, name, topic_id, *_ in answer.topics if not error_code}
    return {name: topic_id for name, topic_id in ids.items() if topic_id != UNKNOWN}
