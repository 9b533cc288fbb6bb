from typing import Self

from aiokafka.structs import TopicPartition

class ConsumerProtocolMemberAssignment:
    version: int
    assignment: list[tuple[str, list[int]]]
    user_data: bytes
    @classmethod
    def decode(cls, data: bytes) -> Self: ...
    def partitions(self) -> list[TopicPartition]: ...
