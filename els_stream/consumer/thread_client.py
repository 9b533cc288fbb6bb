"""aiokafka's consumer, as a fetch uses it in the consumer's thread."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from aiokafka.structs import TopicPartition as KafkaPartition

from els_stream.consumer.faust_internals import arrived, drain_partition, partition_state, wait_for_arrival
from els_stream.consumer.partition_state import FetchedRecord
from els_stream.kafka.connections import Connections
from els_stream.kafka.offsets import Partition


class KafkaConsumer(Protocol):
    """The methods of aiokafka's consumer that are used here; aiokafka has no type annotations."""

    @property
    def connections(self) -> Connections: ...
    def assignment(self) -> AbstractSet[tuple[str, int]]: ...
    def seek(self, partition: object, offset: int) -> None: ...
    async def stop(self) -> None: ...
    async def commit(self, offsets: Mapping[Any, object]) -> None: ...
    async def committed(self, partition: object) -> int | None: ...
    async def end_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...
    async def beginning_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...


class ThreadClient:
    """aiokafka's consumer as a fetch uses it, in its thread."""

    def __init__(self, kafka: KafkaConsumer) -> None:
        self._kafka = kafka

    def position(self, partition: Partition) -> int | None:
        state = partition_state(self._kafka, KafkaPartition(*partition))
        return state.position if state is not None and state.has_valid_position else None

    def high_watermark(self, partition: Partition) -> int:
        state = partition_state(self._kafka, KafkaPartition(*partition))
        return (state.highwater or 0) if state is not None else 0

    def seek(self, partition: Partition, offset: int) -> None:
        self._kafka.seek(KafkaPartition(*partition), offset)

    def ready(self, partitions: Collection[Partition]) -> list[Partition]:
        return [Partition(*tp) for tp in arrived(self._kafka) if tp in partitions]

    async def wait(self, seconds: float) -> None:
        await wait_for_arrival(self._kafka, seconds)

    async def drain(self, partition: Partition) -> Sequence[FetchedRecord]:
        return await drain_partition(self._kafka, KafkaPartition(*partition))
