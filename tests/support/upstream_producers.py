"""Producers of other teams: librdkafka and Java's with each codec, and librdkafka's transactions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from els_stream.demo import messages
from els_stream.embedded.kafka import java_command
from tests.support.java_tools import java_jars

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
# The broker ends a transaction that is open for longer.
TRANSACTION_TIMEOUT_MS: Final = 10_000
ABANDONED_TIMEOUT_MS: Final = 2_000
FLUSH_SECONDS: Final = 10.0
MAX_ATTEMPTS: Final = 60
RETRY_SECONDS: Final = 0.5
SEPARATOR: Final = b"\t"
NO_KEY: Final = b"~"

Sent = Sequence[messages.Message]


class LibrdkafkaProducer:
    """librdkafka with idempotence. Its own partitioner is not Java's, so a key has other partitions."""

    def __init__(self, broker: str, prefix: str, codec: str) -> None:
        self._prefix = prefix
        self._producer = Producer(
            {
                "bootstrap.servers": broker,
                "enable.idempotence": True,
                "compression.type": codec,
                "message.timeout.ms": 0,
                "linger.ms": 5,
                "topic.metadata.refresh.interval.ms": 1000,
                "allow.auto.create.topics": False,
                "log_level": 0,
            }
        )

    async def send(self, sent: Sent) -> None:
        """Send and wait for all acks, however long the broker is away.

        librdkafka refuses records of a topic that was just made anew until it has read the metadata again.
        """
        left = list(sent)
        for _ in range(MAX_ATTEMPTS):
            left = await self._attempt(left)
            if not left:
                return
            await asyncio.sleep(RETRY_SECONDS)
        raise TimeoutError(f"{len(left)} records were refused {MAX_ATTEMPTS} times")

    async def _attempt(self, sent: Sent) -> list[messages.Message]:
        """Send; return the records that were refused."""
        refused: list[messages.Message] = []

        def delivered(message: messages.Message, error: KafkaError | None, _: Message) -> None:
            if error is not None:
                refused.append(message)

        for message in sent:
            try:
                self._producer.produce(
                    self._prefix + message.topic, message.value, message.key, on_delivery=partial(delivered, message)
                )
            except KafkaException:
                refused.append(message)
        while await asyncio.to_thread(self._producer.flush, FLUSH_SECONDS):
            pass
        return refused


class TransactionalProducer:
    """librdkafka with a transactional id. A transaction that fails is tried again with a new producer."""

    def __init__(self, broker: str, prefix: str, codec: str) -> None:
        self._prefix = prefix
        self._options = {
            "bootstrap.servers": broker,
            "compression.type": codec,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "topic.metadata.refresh.interval.ms": 1000,
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
        self._id = f"{prefix}{uuid.uuid4().hex[:8]}"
        self._producer: Producer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def commit(self, sent: Sent, *, open_seconds: float = 0.0) -> None:
        """Commit the records in one transaction; it is open for so long first. A retry may commit them twice."""
        async with self._one_at_a_time:
            await self._transact(sent, open_seconds, commit=True)

    async def abort(self, sent: Sent) -> None:
        async with self._one_at_a_time:
            await self._transact(sent, 0.0, commit=False)

    async def abandon(self, sent: Sent) -> None:
        """Leave the transaction open: the broker ends it after ABANDONED_TIMEOUT_MS."""
        producer = Producer(
            {
                **self._options,
                "transactional.id": f"{self._id}-{uuid.uuid4().hex[:8]}",
                "transaction.timeout.ms": ABANDONED_TIMEOUT_MS,
            }
        )
        try:
            await asyncio.to_thread(producer.init_transactions, FLUSH_SECONDS)
            producer.begin_transaction()
            await self._produce(producer, sent)
        except KafkaException:  # then the broker has nothing to end
            return

    async def _transact(self, sent: Sent, open_seconds: float, *, commit: bool) -> None:
        for attempt in range(MAX_ATTEMPTS):
            try:
                producer = await self._ready()
                producer.begin_transaction()
                await self._produce(producer, sent)
                await asyncio.sleep(open_seconds)
                end = producer.commit_transaction if commit else producer.abort_transaction
                await asyncio.to_thread(end, FLUSH_SECONDS)
            except KafkaException:
                self._producer = None  # the next one with this id ends the open transaction
                if attempt == MAX_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _ready(self) -> Producer:
        if self._producer is None:
            producer = Producer({**self._options, "transactional.id": self._id})
            await asyncio.to_thread(producer.init_transactions, FLUSH_SECONDS)
            self._producer = producer
        return self._producer

    async def _produce(self, producer: Producer, sent: Sent) -> None:
        for message in sent:
            producer.produce(self._prefix + message.topic, message.value, message.key)
        await asyncio.to_thread(producer.flush, FLUSH_SECONDS)


class JavaProducer:
    """Kafka's console producer for one topic: Java's client, fed with a line for each record."""

    def __init__(self, broker: str, topic: str, codec: str, folder: Path) -> None:
        self._options = (
            *("--bootstrap-server", broker, "--topic", topic, "--compression-codec", codec),
            *("--command-property", "delivery.timeout.ms=600000", "--command-property", "metadata.max.age.ms=1000"),
            *("--command-property", "retries=1000000", "--command-property", "enable.idempotence=true"),
            *("--command-property", "acks=all"),
            *("--reader-property", "parse.key=true", "--reader-property", "null.marker=" + NO_KEY.decode()),
        )
        self._log = folder / f"java-{codec}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def send(self, sent: Sent) -> None:
        """Hand the records to the process. They are acked after `flush`."""
        lines = b"".join(_line(message) for message in sent)
        async with self._one_at_a_time:
            if self._process is None:
                self._process = self._start(await java_command(), await asyncio.to_thread(java_jars))
            await asyncio.to_thread(self._write, self._process, lines)

    async def flush(self) -> None:
        """Wait until all records are acked; the process ends. Raises AssertionError if one was not."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        code = await asyncio.to_thread(process.wait)
        log = self._log.read_text()
        if code or "ERROR" in log:
            raise AssertionError(f"Java's producer ended with {code}:\n{log[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _start(self, java_binary: str, jars: Sequence[Path]) -> subprocess.Popen[bytes]:
        java = (java_binary, "-Xmx96m", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
        command = (*java, "-cp", os.pathsep.join(map(str, jars)), "org.apache.kafka.tools.ConsoleProducer")
        with self._log.open("ab") as log:
            return subprocess.Popen([*command, *self._options], stdin=subprocess.PIPE, stdout=log, stderr=log)

    @staticmethod
    def _write(process: subprocess.Popen[bytes], lines: bytes) -> None:
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.flush()


def _line(message: messages.Message) -> bytes:
    return (message.key or NO_KEY) + SEPARATOR + (message.value or b"") + b"\n"
