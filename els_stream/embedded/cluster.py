"""The servers as clusters: several brokers, and a PostgreSQL primary with a standby."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.kafka_cluster import KafkaCluster
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.postgres_pair import PostgresPair
from els_stream.embedded.processes import gather_all, shielded


@dataclass(frozen=True, slots=True)
class Topology:
    """How many brokers there are, and whether PostgreSQL has a standby."""

    brokers: int = 1
    standby: bool = False

    def __str__(self) -> str:
        brokers = "1 broker" if self.brokers == 1 else f"{self.brokers} brokers"
        return f"{brokers}, {'a' if self.standby else 'no'} standby"


SINGLE = Topology()
LARGEST = Topology(brokers=3, standby=True)


class EmbeddedCluster:
    """Servers of this topology in one state folder. Each topology has data of its own for what it has several of."""

    def __init__(self, state_dir: Path, topology: Topology, *, fsync: bool = True) -> None:
        self.kafka = KafkaCluster(state_dir, topology.brokers) if topology.brokers > 1 else EmbeddedKafka(state_dir)
        self.postgres = (
            PostgresPair(state_dir, fsync=fsync) if topology.standby else EmbeddedPostgres(state_dir, fsync=fsync)
        )
        self.topology = topology

    @property
    def alive(self) -> bool:
        return self.kafka.alive and self.postgres.alive

    async def start(self) -> None:
        """Start what does not run; if one fails or the start is cancelled, stop all."""
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
