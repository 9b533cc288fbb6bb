"""The faults of a chaos run: how each is caused and what must have happened before the run goes on."""

from __future__ import annotations

from enum import StrEnum

from els_stream.demo.random_source import RandomSource
from els_stream.embedded.postgres import StopMode
from els_stream.embedded.servers import EmbeddedServers
from tests.support.demo_environment import DemoEnvironment
from tests.support.worker_pool import Worker


class Fault(StrEnum):
    KILL = "kill"  # kill -9, then start another worker
    REPLACE = "replace"  # start another worker, then stop the old one
    FREEZE = "freeze"  # stop a worker until the group has removed it, then continue it
    RESTART_POSTGRES = "restart of PostgreSQL"
    RESTART_KAFKA = "restart of Kafka"


class Faults:
    """Causes faults; the random source chooses the worker and the kind of stop."""

    def __init__(self, env: DemoEnvironment, servers: EmbeddedServers, rng: RandomSource) -> None:
        self._scene = env
        self._servers = servers
        self._dice = rng
        self.wrong: list[str] = []

    async def cause(self, fault: Fault) -> None:
        pool = self._scene.pool
        victim = self._dice.choice(pool.workers)
        match fault:
            case Fault.KILL:
                pool.kill(victim)
                pool.start()
            case Fault.REPLACE:
                pool.start()
                if code := await pool.stop(victim):
                    self.wrong.append(f"a worker ended after SIGTERM with {code}")
            case Fault.FREEZE:
                await self._freeze(victim)
            case Fault.RESTART_POSTGRES:
                await self._servers.postgres.stop(self._dice.choice(list(StopMode)))
                await self._servers.postgres.start()
            case Fault.RESTART_KAFKA:
                await self._restart_kafka()

    async def _freeze(self, victim: Worker) -> None:
        """Freeze when all workers have joined; continue when only the frozen one has been removed."""
        env, pool = self._scene, self._scene.pool
        await env.until_members(len(pool.workers))
        pool.freeze(victim)
        await env.until_members(len(pool.workers) - 1)
        pool.wake(victim)

    async def _restart_kafka(self) -> None:
        kafka = self._servers.kafka
        await self._dice.choice((kafka.kill, kafka.stop))()
        await kafka.start()
