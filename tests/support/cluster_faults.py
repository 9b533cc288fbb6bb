"""The faults of clusters: brokers that leaders are elected from, and a primary that a standby takes over from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from typing_extensions import override

from els_stream.demo.random_source import RandomSource
from els_stream.embedded.kafka_cluster import KafkaCluster, KafkaNode
from els_stream.embedded.postgres import StopMode
from els_stream.embedded.postgres_pair import IS_IN_SYNC, Loss, PostgresPair
from els_stream.events.topics import EXCESS_CONTENT, VALIDATION_FAILED
from els_stream.kafka.topics import TOPICS
from tests.support.demo_environment import DemoEnvironment
from tests.support.faults import Fault, WorkerFaults
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until

REPLICAS: Final = 3
IN_SYNC: Final = 2
# Each of their partitions has one replica: while its broker is away it has no leader.
UNREPLICATED: Final = (VALIDATION_FAILED, EXCESS_CONTENT)
AWAY_SECONDS: Final = (0.2, 6.0)
IN_SYNC_TIMEOUT_SECONDS: Final = 120


class ClusterFaults(WorkerFaults):
    """Causes faults of workers and paths, of several brokers, and of a primary and its standby."""

    def __init__(
        self,
        env: DemoEnvironment,
        kafka: KafkaCluster,
        postgres: PostgresPair,
        rng: RandomSource,
        paths: Sequence[TcpProxy] = (),
    ) -> None:
        super().__init__(env, rng, paths)
        self._kafka = kafka
        self._postgres = postgres
        self._rejoining: asyncio.Task[None] | None = None

    @override
    async def cause(self, fault: Fault) -> None:
        match fault:
            case Fault.FAILOVER | Fault.STANDBY_LOST | Fault.RESTART_POSTGRES:
                await self.finish()
                await self._disturb_postgres(fault)
            case Fault.KILL_BROKER:
                await self._away(self._rng.choice(self._kafka.nodes))
            case Fault.MAJORITY:
                await self._away(*self._rng.sample(self._kafka.nodes, len(self._kafka.nodes) // 2 + 1))
            case Fault.ROLL_BROKERS:
                await self._roll()
            case Fault.LOW_ISR:
                await self._require(REPLICAS)
                await self._away(self._rng.choice(self._kafka.nodes))
                await self._require(IN_SYNC)
            case Fault.NO_LEADER:
                await self._away(await self._only_leader())
            case _:
                await super().cause(fault)

    @override
    async def finish(self) -> None:
        """Wait until the old primary of the last failover has every commit."""
        if self._rejoining is not None:
            await self._rejoining
            self._rejoining = None

    @override
    def processes(self) -> dict[str, Sequence[int]]:
        servers = {
            "PostgreSQL": [self._postgres.primary.server, self._postgres.standby.server],
            "Kafka": [node.server for node in self._kafka.nodes],
        }
        return {
            name: [server.process.pid for server in each if server.process is not None]
            for name, each in servers.items()
        }

    async def _disturb_postgres(self, fault: Fault) -> None:
        pair = self._postgres
        match fault:
            case Fault.FAILOVER:
                await pair.promote(self._rng.choice(list(Loss)))
                self._rejoining = asyncio.create_task(pair.rejoin())
            case Fault.STANDBY_LOST:
                await pair.standby.crash()
                await asyncio.sleep(self._rng.uniform(*AWAY_SECONDS))
                await pair.standby.start()
                await pair.primary.until(IS_IN_SYNC)
            case _:
                await pair.primary.stop(self._rng.choice(list(StopMode)))
                await pair.primary.start()
                await pair.primary.until(IS_IN_SYNC)

    async def _away(self, *nodes: KafkaNode) -> None:
        for node in nodes:
            await node.kill()
        await asyncio.sleep(self._rng.uniform(*AWAY_SECONDS))
        await asyncio.gather(*(node.start() for node in nodes))

    async def _roll(self) -> None:
        for node in self._kafka.nodes:
            await node.stop()
            await node.start()
            await self._until_in_sync()

    async def _require(self, in_sync: int) -> None:
        """Set how many replicas an acknowledged record is on; the broker may be away for the moment."""
        prefix = self._env.settings.topic_prefix
        changed = [
            ConfigResource(
                ConfigResourceType.TOPIC,
                prefix + plan.topic,
                configs={**plan.config(REPLICAS), "min.insync.replicas": str(in_sync)},
            )
            for plan in TOPICS
            if plan.topic not in UNREPLICATED
        ]

        async def done() -> bool:
            try:
                async with self._env.admin() as admin:
                    (answer,) = await admin.alter_configs(changed)
            except KafkaError:
                return False
            return not any(resource[0] for resource in answer.resources)

        await until(done, seconds=IN_SYNC_TIMEOUT_SECONDS)

    async def _until_in_sync(self) -> None:
        async def in_sync() -> bool:
            partitions = await self._partitions([plan.topic for plan in TOPICS])
            return bool(partitions) and all(len(each["isr"]) == len(each["replicas"]) for each in partitions)

        await until(in_sync, seconds=IN_SYNC_TIMEOUT_SECONDS)

    async def _only_leader(self) -> KafkaNode:
        """Return the broker of a partition that has no other replica."""
        found: list[int] = []

        async def led() -> bool:
            found[:] = [each["leader"] for each in await self._partitions(list(UNREPLICATED))]
            return bool(found) and min(found) > 0

        await until(led, seconds=IN_SYNC_TIMEOUT_SECONDS)
        return self._kafka.nodes[self._rng.choice(found) - 1]

    async def _partitions(self, topics: list[str]) -> list[dict[str, Any]]:
        try:
            async with self._env.admin() as admin:
                found = await admin.describe_topics([self._env.settings.topic_prefix + topic for topic in topics])
        except KafkaError:
            return []
        return [partition for topic in found for partition in topic["partitions"]]
