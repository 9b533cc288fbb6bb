"""An embedded Kafka with a second listener that clients reach through a proxy."""

from __future__ import annotations

import re
from pathlib import Path

from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.ports import LOOPBACK, new_ports

LISTENERS = re.compile(r"^listeners=(?P<own>PLAINTEXT://.*),(?P<controller>CONTROLLER://.*)$", re.MULTILINE)
# Open transactions whose producer has gone are ended soon after their time-out.
ABORT_INTERVAL_MS = 500


class ProxiedKafka(EmbeddedKafka):
    """The broker advertises `proxy_port` to clients that begin there, so all their connections go through it.

    The proxy's target is `behind_proxy`. Other clients connect to `address` as always.
    """

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir)
        (port,) = new_ports(1)
        self.behind_proxy = (LOOPBACK, port)
        self.proxy_port = 0

    def _configure(self) -> tuple[Path, Path]:
        properties, logging = super()._configure()
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
        return properties, logging
