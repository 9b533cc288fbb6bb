"""Class sets through real workers that are killed, on servers that are restarted; then everything must be right.

`python -m tests.acceptance.chaos --help` runs it at any length on servers of its own; the same seed sends the same
records and plans the same faults.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from els_stream import schema
from els_stream.contracts.headers import Headers
from els_stream.contracts.records import RawRecord
from els_stream.contracts.topics import INPUT_TOPICS
from els_stream.demo.check import differences
from els_stream.demo.dice import Dice
from els_stream.demo.promises import Traffic
from els_stream.demo.traffic import make_traffic
from els_stream.demo.transcript import Transcript
from els_stream.dev.postgres import StopMode
from els_stream.dev.servers import EmbeddedServers
from els_stream.settings import Settings
from els_stream.topics import ensure_topics, partitions_of
from els_stream.verify.published import output_records
from els_stream.verify.run import verify

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 90.0
STOP_SECONDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is sent and what goes wrong meanwhile; `kills` and `restarts` of PostgreSQL are spread by the seed."""

    seed: int
    batches: int
    largest: int = 60
    workers: int = 1
    kills: int = 0
    restarts: int = 0
    in_flight: int = 2
    micro_batch: int = 100


@dataclass(slots=True)
class Result:
    records: int
    seconds: float
    kills: int = 0
    restarts: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        faults = f"{self.kills} kills, {self.restarts} restarts of PostgreSQL"
        return f"{self.records} records in {self.seconds:.0f} s, {faults}, {len(self.wrong)} differences"


class Chaos:
    """One run of a plan against running servers; `broker`, database and `prefix` are its own."""

    def __init__(self, plan: Plan, servers: EmbeddedServers, database: str, prefix: str, folder: Path) -> None:
        self.plan = plan
        self.traffic: Traffic = make_traffic(plan.seed, plan.batches, plan.largest)
        self._servers = servers
        self._settings = Settings(
            broker_url=servers.kafka.address,
            database_url=SecretStr(database),
            topic_prefix=prefix,
            consumer_group=f"{prefix}chaos",
        )
        self._database = database
        self._log = (folder / "workers.log").open("ab")
        self._dice = Dice(plan.seed)
        self._workers: list[subprocess.Popen[bytes]] = []

    async def run(self) -> Result:
        started = time.monotonic()
        await ensure_topics(self._settings.broker, self._settings.topic_prefix)
        result = Result(len(self.traffic.messages), 0)
        sending = asyncio.create_task(self._send())
        try:
            for _ in range(self.plan.workers):
                self._start()
            await self._disturb(result)
            await sending
            await self._until(self._all_handled)
            result.wrong += self._stop()
            await self._judge(result)
        finally:
            sending.cancel()
            for worker in self._workers:
                worker.kill()
            self._log.close()
        result.seconds = time.monotonic() - started
        return result

    async def _disturb(self, result: Result) -> None:
        """Each fault when a share of the records, drawn by the seed, was handled: so all of them hit a busy service."""
        faults = ["kill"] * self.plan.kills + ["restart"] * self.plan.restarts
        self._dice.shuffle(faults)
        for moment, fault in zip(sorted(self._dice.random() * 0.95 for _ in faults), faults, strict=True):
            await self._until(self._handled(round(moment * len(self.traffic.messages))))
            if fault == "kill":
                self._kill()
                result.kills += 1
            else:
                await self._servers.postgres.stop(self._dice.choice(list(StopMode)))
                await self._servers.postgres.start()
                result.restarts += 1

    def _start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ELS_")}
        env |= {
            "ELS_BROKER_URL": self._settings.broker,
            "ELS_DATABASE_URL": self._database,
            "ELS_TOPIC_PREFIX": self._settings.topic_prefix,
            "ELS_CONSUMER_GROUP": self._settings.consumer_group,
            "ELS_WEB_PORT": "0",
            "ELS_SESSION_TIMEOUT_SECONDS": "2",
            "ELS_HEARTBEAT_INTERVAL_SECONDS": "0.5",
            "ELS_REBALANCE_TIMEOUT_SECONDS": "11",
            "ELS_TRANSACTIONS_IN_FLIGHT": str(self.plan.in_flight),
            "ELS_MICRO_BATCH_RECORDS": str(self.plan.micro_batch),
            "ELS_RETRY_MAX_SECONDS": "1",
        }
        command = [sys.executable, "-m", "els_stream", "worker"]
        self._workers.append(subprocess.Popen(command, env=env, cwd=ROOT, stdout=self._log, stderr=self._log))

    def _kill(self) -> None:
        victim = self._workers.pop(self._dice.randrange(len(self._workers)))
        victim.kill()
        victim.wait()
        self._start()

    def _stop(self) -> list[str]:
        for worker in self._workers:
            worker.terminate()
        codes = [worker.wait(STOP_SECONDS) for worker in self._workers]
        return [f"a worker ended with {code}" for code in codes if code]

    async def _send(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._settings.broker, linger_ms=5)
        await producer.start()
        try:
            sent = [
                await producer.send(self._settings.topic_prefix + message.topic, message.value, key=message.key)
                for message in self.traffic.messages
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Gives up after a time without progress: a long run may take long."""
        last, since = -1, time.monotonic()
        while not await condition():
            if (now := await self._position()) != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > PATIENCE_SECONDS:
                raise TimeoutError(f"no progress at {last} of {len(self.traffic.messages)} records")
            await asyncio.sleep(0.02)

    def _handled(self, records: int) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            return await self._position() >= records

        return reached

    async def _position(self) -> int:
        return await self._ask("SELECT coalesce(sum(next_offset), 0)::int FROM consumed_offsets")

    async def _all_handled(self) -> bool:
        if await self._ask("SELECT count(*)::int FROM event_outbox"):
            return False
        return await self._position() == await self._ends()

    async def _ask(self, question: str) -> int:
        """-1 while the database is away."""
        try:
            conn = await asyncpg.connect(self._database, timeout=5)
            try:
                return int(await conn.fetchval(question))
            finally:
                await conn.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return -1

    async def _ends(self) -> int:
        names = [self._settings.topic_prefix + topic for topic in INPUT_TOPICS]
        counts = await partitions_of(self._settings.broker, names)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.broker)
        await consumer.start()
        try:
            asked = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
            return sum((await consumer.end_offsets(asked)).values())
        finally:
            await consumer.stop()

    async def _judge(self, result: Result) -> None:
        async for finding in verify(self._settings, kafka=True):
            result.wrong += [f"{finding.invariant}: {violation}" for violation in finding.shown]
        transcript = Transcript()
        prefix = self._settings.topic_prefix
        async for record in output_records(self._settings.broker, prefix):
            topic = record.topic.removeprefix(prefix)
            headers: Headers = tuple(record.headers)
            transcript.see(
                RawRecord(topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers)
            )
        result.wrong += differences(self.traffic, transcript)


async def run_alone(plan: Plan, folder: Path) -> Result:
    """On servers of its own, in this folder, which are stopped at the end."""
    servers = EmbeddedServers(folder)
    await servers.start()
    try:
        database = await servers.postgres.create_database(f"chaos_{plan.seed}_{os.getpid()}")
        await schema.upgrade(database)
        return await Chaos(plan, servers, database, f"chaos-{os.getpid()}.", folder).run()
    finally:
        await servers.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the servers' state and the workers' log")
    for name, default in (
        ("seed", 1),
        ("batches", 700),
        ("largest", 60),
        ("workers", 1),
        ("kills", 20),
        ("restarts", 0),
        ("in-flight", 2),
        ("micro-batch", 100),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = vars(parser.parse_args())
    folder = given.pop("folder").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    result = asyncio.run(run_alone(Plan(**given), folder))
    sys.stdout.write(f"{result}\n" + "".join(f"  {line}\n" for line in result.wrong[:50]))
    return int(bool(result.wrong))


if __name__ == "__main__":
    sys.exit(main())
