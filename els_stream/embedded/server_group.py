"""A PostgreSQL and a Kafka that are started and stopped together."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from els_stream.embedded.processes import gather_all, shielded


class ManagedServers(Protocol):
    """A server, or several of one kind."""

    @property
    def alive(self) -> bool: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def remove_data(self) -> None: ...


PostgresT = TypeVar("PostgresT", bound=ManagedServers)
KafkaT = TypeVar("KafkaT", bound=ManagedServers)


class ServerGroup(Generic[PostgresT, KafkaT]):
    """Both, each one server or several."""

    def __init__(self, postgres: PostgresT, kafka: KafkaT) -> None:
        self.postgres = postgres
        self.kafka = kafka

    @property
    def alive(self) -> bool:
        return self.postgres.alive and self.kafka.alive

    async def start(self) -> None:
        """Start what does not run, both at the same time; if one fails or the start is cancelled, stop both."""
        try:
            await gather_all(self.postgres.start(), self.kafka.start())
        except BaseException:
            await shielded(self.stop())
            raise

    async def stop(self) -> None:
        await gather_all(self.postgres.stop(), self.kafka.stop())

    def remove_data(self) -> None:
        self.postgres.remove_data()
        self.kafka.remove_data()
