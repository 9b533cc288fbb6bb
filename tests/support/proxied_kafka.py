"""Embedded Kafka with a second listener for each broker, which clients reach through a proxy."""

from __future__ import annotations

import re
from pathlib import Path

from typing_extensions import override

from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.kafka_cluster import KafkaCluster, KafkaNode
from els_stream.embedded.ports import LOOPBACK, new_ports

LISTENERS = re.compile(r"^listeners=(?P<own>PLAINTEXT://.*),(?P<controller>CONTROLLER://.*)$", re.MULTILINE)
# Open transactions whose producer has gone are ended soon after their time-out.
ABORT_INTERVAL_MS = 500


class ProxiedListener:
    """A listener of a broker that advertises `proxy_port` to clients that begin there, with all their connections.

    The proxy's target is `behind_proxy`.
    """

    def __init__(self) -> None:
        (port,) = new_ports(1)
        self.behind_proxy = (LOOPBACK, port)
        self.proxy_port = 0

    def add_to(self, properties: Path) -> None:
        """Add the listener to the properties of a broker with a plain one."""
        text = properties.read_text()
        found = LISTENERS.search(text)
        if found is None:
            raise ValueError(f"no listeners in {properties}")
        own, controller = found["own"], found["controller"]
        host, port = self.behind_proxy
        lines = (
            f"listeners={own},PROXIED://{host}:{port},{controller}",
            f"advertised.listeners={own},PROXIED://{host}:{self.proxy_port}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=PLAINTEXT",
            f"transaction.abort.timed.out.transaction.cleanup.interval.ms={ABORT_INTERVAL_MS}",
        )
        properties.write_text(text + "\n".join(lines) + "\n")


class ProxiedKafka(EmbeddedKafka):
    """A broker with such a listener. Other clients connect to `address` as always."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir)
        self.proxied = ProxiedListener()

    @override
    def _configure(self) -> tuple[Path, Path]:
        properties, logging = super()._configure()
        self.proxied.add_to(properties)
        return properties, logging


class ProxiedNode(KafkaNode):
    """A broker of a cluster with such a listener."""

    def __init__(self, cluster: KafkaCluster, number: int, listener: ProxiedListener) -> None:
        super().__init__(cluster, number)
        self._listener = listener

    @override
    def _configure(self) -> tuple[Path, Path]:
        properties, logging = super()._configure()
        self._listener.add_to(properties)
        return properties, logging


class ProxiedCluster(KafkaCluster):
    """A cluster in which each broker has such a listener."""

    def __init__(self, state_dir: Path, count: int) -> None:
        super().__init__(state_dir, count)
        self.proxied = [ProxiedListener() for _ in range(count)]
        self.nodes = [ProxiedNode(self, number, each) for number, each in enumerate(self.proxied, start=1)]
