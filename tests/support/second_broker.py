"""A second broker of the cluster of a test run, for partitions whose leader goes away."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from els_stream.embedded.jars import default_store, kafka_jars
from els_stream.embedded.kafka import JVM, LOGGING, PROPERTIES, STARTED, java_command
from els_stream.embedded.ports import LOOPBACK, new_ports, recorded_ports
from els_stream.embedded.processes import ServerProcess, run

START_TIMEOUT_SECONDS = 60
NODE = 2


class SecondBroker:
    """Joins the embedded Kafka whose state lies in `state_dir`; keeps its data and port over a kill."""

    def __init__(self, state_dir: Path, place: Path) -> None:
        self._state_dir = state_dir
        self._place = place
        self._port = new_ports(1)[0]
        self._server = ServerProcess("second-broker", place)

    async def start(self) -> None:
        _, controller = recorded_ports(self._state_dir / "kafka.ports.json")
        data, properties, logging = (
            self._place / "data",
            self._place / "second.properties",
            self._place / "log4j2.properties",
        )
        text = PROPERTIES.format(listen=LOOPBACK, host=LOOPBACK, data=data, broker=self._port, controller=controller)
        text = text.replace("process.roles=broker,controller", "process.roles=broker").replace(
            "node.id=1", f"node.id={NODE}"
        )
        text = text.replace(f",CONTROLLER://{LOOPBACK}:{controller}", "")
        properties.write_text(text)
        logging.write_text(LOGGING)
        env = {"LC_ALL": "C", "PATH": os.defpath}
        java = [await java_command(), *JVM, f"-Dlog4j2.configurationFile={logging}"]
        java += ["-cp", os.pathsep.join(map(str, kafka_jars(default_store())))]
        if not data.exists():
            storage = ["format", "--cluster-id", self._cluster_id(), "--config", str(properties)]
            await run(*java, "kafka.tools.StorageTool", *storage, env=env)
        written = await self._server.spawn(*java, "kafka.Kafka", str(properties), env=env)
        await self._server.until(lambda: STARTED in self._server.logged_since(written), START_TIMEOUT_SECONDS)

    async def kill(self) -> None:
        await self._server.end(signal.SIGKILL, START_TIMEOUT_SECONDS)

    def _cluster_id(self) -> str:
        lines = (self._state_dir / "kafka" / "data" / "meta.properties").read_text().splitlines()
        return next(line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))
