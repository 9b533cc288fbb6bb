"""The faults of a chaos run: how each is caused and what must have happened before the run goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from typing_extensions import override

from els_stream.demo.random_source import RandomSource
from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.postgres import EmbeddedPostgres, StopMode
from els_stream.embedded.servers import EmbeddedServers
from tests.support.demo_environment import DemoEnvironment
from tests.support.limited_disk import LimitedDisk
from tests.support.stepped_clock import SteppedClock
from tests.support.tcp_proxy import TcpProxy
from tests.support.worker_pool import Worker

# How long a path is cut or slow, and a disk is full: shorter and longer than the time-outs of the workers.
LASTING_SECONDS: Final = (0.2, 3.0)
DELAY_SECONDS: Final = (0.01, 0.1)
# How far a clock is from the true time after a step.
CLOCK_SECONDS: Final = (-120.0, 120.0)
WATERMARKS_AHEAD: Final = "SELECT count(*) FROM consumed_offsets WHERE watermark_at > clock_timestamp()"


class Fault(StrEnum):
    KILL = "kill"  # kill -9 of a worker or relay, then start another
    REPLACE = "replacement"  # start another worker, then stop the old one
    FREEZE = "freeze"  # stop a worker until the group has removed it, then continue it
    RESTART_POSTGRES = "restart of PostgreSQL"
    RESTART_KAFKA = "restart of Kafka"
    CUT = "cut path"  # reset and refuse connections to one server, then allow them
    HALF_OPEN = "half-open path"  # the open connections to one server transport nothing more
    SLOW = "slow path"  # delay what goes to and from one server
    CLOCK_STEP = "clock step"  # set PostgreSQL's clock back or ahead
    FULL_DISK = "full disk"  # fill one server's disk, free it, start the server if it has ended
    KILL_BROKER = "kill of a broker"  # kill -9 one of several, start it after a while
    ROLL_BROKERS = "rolling restart of the brokers"  # stop and start each when all replicas are in sync
    MAJORITY = "two brokers away"  # kill two of three: too few replicas, and no quorum of controllers
    LOW_ISR = "too few replicas in sync"  # one broker away while topics need all
    NO_LEADER = "partition without a leader"  # kill the broker that has the only replica
    FAILOVER = "failover"  # the primary ends and the standby takes over; the old primary comes back as standby
    STANDBY_LOST = "standby away"  # kill the standby: commits wait until it is back


class WorkerFaults:
    """Disturbs workers, relays and `paths`, the proxies between them and each server; the random source chooses."""

    def __init__(self, env: DemoEnvironment, rng: RandomSource, paths: Sequence[TcpProxy] = ()) -> None:
        self._env = env
        self._rng = rng
        self._paths = paths
        self.wrong: list[str] = []
        self.late_stops = 0

    async def cause(self, fault: Fault) -> None:
        """Cause the fault; return when what it ended runs again."""
        pool = self._env.pool
        victim = self._rng.choice(pool.workers)
        match fault:
            case Fault.KILL:
                pool.replace_killed(self._rng.choice([*pool.workers, *pool.relays]))
            case Fault.REPLACE:
                pool.start()
                code = await pool.stop(victim)
                # It ended by its own deadline: another fault keeps it from a server.
                self.late_stops += code == os.EX_SOFTWARE
                if code not in {0, os.EX_SOFTWARE}:
                    self.wrong.append(f"a worker ended after SIGTERM with {code}")
            case Fault.FREEZE:
                await self._freeze(victim)
            case Fault.CUT | Fault.HALF_OPEN | Fault.SLOW:
                await self._disturb_path(fault, self._rng.choice(self._paths))
            case _:
                raise ValueError(f"these servers cannot have the fault {fault}")

    async def finish(self) -> None:
        """Wait for what comes back in the background."""

    def processes(self) -> dict[str, Sequence[int]]:
        """Return the root processes of the servers by name."""
        return {}

    async def _freeze(self, victim: Worker) -> None:
        """Freeze when all workers have joined; continue when only the frozen one has been removed."""
        env, pool = self._env, self._env.pool
        await env.until_members(len(pool.workers))
        pool.freeze(victim)
        await env.until_members(len(pool.workers) - 1)
        pool.wake(victim)

    async def _disturb_path(self, fault: Fault, path: TcpProxy) -> None:
        match fault:
            case Fault.CUT:
                path.cut()
            case Fault.HALF_OPEN:
                path.silence()
                return
            case _:
                path.delay(self._rng.uniform(*DELAY_SECONDS))
        await asyncio.sleep(self._rng.uniform(*LASTING_SECONDS))
        path.restore()


class Faults(WorkerFaults):
    """Causes faults of workers and paths, and of a broker and a PostgreSQL.

    `disks` are those that can be filled, `clock` is PostgreSQL's if it can be stepped.
    """

    def __init__(
        self,
        env: DemoEnvironment,
        servers: EmbeddedServers,
        rng: RandomSource,
        paths: tuple[TcpProxy, ...] = (),
        disks: tuple[LimitedDisk, ...] = (),
        clock: SteppedClock | None = None,
    ) -> None:
        super().__init__(env, rng, paths)
        self._servers = servers
        self._disks = disks
        self._clock = clock

    @override
    async def cause(self, fault: Fault) -> None:
        match fault:
            case Fault.RESTART_POSTGRES:
                await self._servers.postgres.stop(self._rng.choice(list(StopMode)))
                await self._servers.postgres.start()
            case Fault.RESTART_KAFKA:
                await self._restart_kafka()
            case Fault.CLOCK_STEP if self._clock is not None:
                self._clock.set(self._rng.uniform(*CLOCK_SECONDS))
            case Fault.FULL_DISK:
                await self._fill(self._rng.choice(self._disks))
            case _:
                await super().cause(fault)

    @override
    async def finish(self) -> None:
        """Set the clock right; wait until the workers have removed the watermarks that lie ahead of it."""
        if self._clock is None:
            return
        self._clock.set(0.0)

        async def none_ahead() -> bool:
            return await self._env.ask(WATERMARKS_AHEAD) == 0

        await self._env.until(none_ahead)

    @override
    def processes(self) -> dict[str, Sequence[int]]:
        servers = {"PostgreSQL": self._servers.postgres.server, "Kafka": self._servers.kafka.server}
        return {name: [server.process.pid] for name, server in servers.items() if server.process is not None}

    async def _restart_kafka(self) -> None:
        kafka = self._servers.kafka
        await self._rng.choice((kafka.kill, kafka.stop))()
        await kafka.start()

    async def _fill(self, disk: LimitedDisk) -> None:
        disk.fill()
        await asyncio.sleep(self._rng.uniform(*LASTING_SECONDS))
        disk.free()
        server: EmbeddedPostgres | EmbeddedKafka
        server = self._servers.postgres if disk.name == "postgres" else self._servers.kafka
        await server.start()
