"""Runs several Kafka processes, each broker and controller, as one cluster with a replica of each partition on each.

One broker may end: the others elect leaders and take every write. With two away of three, the cluster takes no write
that waits for all replicas, and no new leader is elected until one is back.
"""

from __future__ import annotations

from pathlib import Path

from els_stream.embedded.kafka import EmbeddedKafka, new_cluster_id
from els_stream.embedded.ports import LOOPBACK, kept_ports, recorded_ports
from els_stream.embedded.processes import gather_all, shielded

# Ports of a node: for clients and other brokers, and for controllers.
PORTS_OF_A_NODE = 2
# Other defaults than those of a single broker. `default.replication.factor` is for topics of other programs.
PROPERTIES = """\
node.id={number}
controller.quorum.voters={voters}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
"""


class KafkaNode(EmbeddedKafka):
    """One of the processes; it keeps its number, data and ports."""

    def __init__(self, cluster: KafkaCluster, number: int) -> None:
        super().__init__(cluster.state_dir, name=f"kafka-{number}")
        self.number = number
        self._cluster = cluster

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._cluster.ports_of(self.number)[0]}"

    def _choose_ports(self, count: int) -> list[int]:
        return self._cluster.ports_of(self.number)[:count]

    def _configure(self) -> tuple[Path, Path]:
        properties, logging = super()._configure()
        properties.write_text(properties.read_text() + self._cluster.properties_of(self.number))
        return properties, logging

    def _cluster_id(self) -> str:
        return self._cluster.cluster_id


class KafkaCluster:
    """Brokers with the numbers 1 to `count`, with their data below `state_dir`."""

    def __init__(self, state_dir: Path, count: int) -> None:
        self.state_dir = state_dir
        self.nodes = [KafkaNode(self, number) for number in range(1, count + 1)]
        self._record = state_dir / "kafka-cluster.ports.json"
        self._id = state_dir / "kafka-cluster.id"

    @property
    def address(self) -> str:
        """The addresses of all brokers; there are none before the first start."""
        return ",".join(node.address for node in self.nodes)

    @property
    def alive(self) -> bool:
        return all(node.alive for node in self.nodes)

    @property
    def cluster_id(self) -> str:
        return self._id.read_text()

    async def start(self) -> None:
        """Start the nodes that do not run."""
        if not self._id.exists():
            self._id.write_text(new_cluster_id())
        if not any(node.alive for node in self.nodes):
            kept_ports(self._record, PORTS_OF_A_NODE * len(self.nodes))
        try:
            await gather_all(*(node.start() for node in self.nodes))
        except BaseException:
            await shielded(self.stop())
            raise

    async def stop(self) -> None:
        """Stop all at once: one after the other, the last ones would wait for controllers that are gone."""
        await gather_all(*(node.stop() for node in self.nodes))

    def remove_data(self) -> None:
        for node in self.nodes:
            node.remove_data()
        self._id.unlink(missing_ok=True)

    def ports_of(self, number: int) -> list[int]:
        first = PORTS_OF_A_NODE * (number - 1)
        return recorded_ports(self._record)[first : first + PORTS_OF_A_NODE]

    def properties_of(self, number: int) -> str:
        """Return the lines that follow those of a single broker in the node's server.properties."""
        voters = ",".join(f"{node.number}@{LOOPBACK}:{self.ports_of(node.number)[1]}" for node in self.nodes)
        replicas = min(3, len(self.nodes))
        return PROPERTIES.format(number=number, voters=voters, replicas=replicas, in_sync=max(1, replicas - 1))
