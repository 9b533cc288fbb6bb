from collections.abc import Awaitable, Callable
from typing import Protocol

class AIOKafkaConnection:
    def close(self) -> object: ...

class CreateConnection(Protocol):
    async def __call__(self, *args: object, **options: object) -> AIOKafkaConnection: ...

create_conn: CreateConnection

class AIOKafkaClient:
    bootstrap: Callable[[AIOKafkaClient], Awaitable[None]]  # replaced by els_stream.kafka.clients
