from collections.abc import Awaitable, Callable
from typing import Protocol

from aiokafka.conn import AIOKafkaConnection as AIOKafkaConnection

class CreateConnection(Protocol):
    async def __call__(self, host: str, port: int, **options: object) -> AIOKafkaConnection: ...

create_conn: CreateConnection

class AIOKafkaClient:
    bootstrap: Callable[[AIOKafkaClient], Awaitable[None]]  # replaced by els_stream.kafka.clients
