"""The servers as clusters: several brokers, and a PostgreSQL primary with a standby."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.kafka_cluster import KafkaCluster
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.postgres_pair import PostgresPair
from els_stream.embedded.server_group import ServerGroup


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


class EmbeddedCluster(ServerGroup[PostgresPair | EmbeddedPostgres, KafkaCluster | EmbeddedKafka]):
    """Servers of this topology in one state folder. Each topology has data of its own for what it has several of."""

    def __init__(self, state_dir: Path, topology: Topology, *, fsync: bool = True) -> None:
        super().__init__(
            PostgresPair(state_dir, fsync=fsync) if topology.standby else EmbeddedPostgres(state_dir, fsync=fsync),
            KafkaCluster(state_dir, topology.brokers) if topology.brokers > 1 else EmbeddedKafka(state_dir),
        )
        self.topology = topology
