"""What goes wrong in a run of chaos: a closed set, each with what does it and what is waited for afterwards."""

from __future__ import annotations

from enum import StrEnum

from els_stream.demo.random_source import RandomSource
from els_stream.embedded.postgres import StopMode
from els_stream.embedded.servers import EmbeddedServers
from tests.support.demo_environment import DemoEnvironment
from tests.support.worker_pool import Worker


class Fault(StrEnum):
    KILL = "kill"  # kill -9, and another worker instead
    REPLACE = "replace"  # another worker joins, then the old one is told to stop
    FREEZE = "freeze"  # a worker sleeps until the group has thrown it out, then wakes
    RESTART_POSTGRES = "restart of PostgreSQL"
    RESTART_KAFKA = "restart of Kafka"


class Faults:
    """The seed chooses victims and ways."""

    def __init__(self, scene: DemoEnvironment, servers: EmbeddedServers, rng: RandomSource) -> None:
        self._scene = scene
        self._servers = servers
        self._dice = rng
        self.wrong: list[str] = []

    async def cause(self, fault: Fault) -> None:
        crew = self._scene.crew
        victim = self._dice.choice(crew.workers)
        match fault:
            case Fault.KILL:
                crew.kill(victim)
                crew.start()
            case Fault.REPLACE:
                crew.start()
                if code := await crew.stop(victim):
                    self.wrong.append(f"a worker that was told to stop ended with {code}")
            case Fault.FREEZE:
                await self._freeze(victim)
            case Fault.RESTART_POSTGRES:
                await self._servers.postgres.stop(self._dice.choice(list(StopMode)))
                await self._servers.postgres.start()
            case Fault.RESTART_KAFKA:
                await self._restart_kafka()

    async def _freeze(self, victim: Worker) -> None:
        """The others, or another, must have joined before, and only the sleeper may be missing after."""
        scene, crew = self._scene, self._scene.crew
        await scene.members(len(crew.workers))
        crew.freeze(victim)
        await scene.members(len(crew.workers) - 1)
        crew.wake(victim)

    async def _restart_kafka(self) -> None:
        kafka = self._servers.kafka
        await self._dice.choice((kafka.kill, kafka.stop))()
        await kafka.start()
