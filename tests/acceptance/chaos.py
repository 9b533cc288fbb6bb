"""Sends traffic through workers that are killed, on servers that fail, and checks the result.

`python -m tests.acceptance.chaos --help` runs it at any length on new servers. The same seed sends the same records and
plans the same faults.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import make_url

from els_stream.db import migration
from els_stream.demo.random_source import RandomSource
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.databases import create_database
from els_stream.embedded.ports import LOOPBACK
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.postgres_pair import PostgresPair
from els_stream.embedded.servers import POSTGRES_PORT, EmbeddedServers
from els_stream.kafka.topics import TOPICS, ensure_topics
from tests.support import chaos_report
from tests.support.capacity import Capacity, backlogs
from tests.support.chaos_plan import PROFILES, Plan
from tests.support.chaos_report import Result
from tests.support.chaos_sum import summed
from tests.support.cluster_faults import REPLICAS, UNREPLICATED, ClusterFaults
from tests.support.demo_environment import DemoEnvironment
from tests.support.demo_queries import RANGES_TAKEN_FOR_LOST
from tests.support.faults import Fault, Faults, WorkerFaults
from tests.support.limited_disk import LimitedDisk
from tests.support.progress import Progress
from tests.support.proxied_kafka import ProxiedCluster, ProxiedKafka, ProxiedListener
from tests.support.stepped_clock import SteppedClock
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import Upstream

# Every tenth record is repeated in any mix.
MIX: Final = Mix(late=0.2, refused=0.01)
# Ratios of the records that are sent while faults go on.
FIRST_FAULT: Final = 0.02
LAST_FAULT: Final = 0.98
# How long nothing is handled before the run checks whether there is anything left: this takes a new Kafka client.
IDLE_SECONDS: Final = 0.5
# A worker may be stopped while it starts, on a machine that is busy with other things.
STOP_SECONDS: Final = 30.0
DISK_MEBIBYTES: Final = {"postgres": 3000, "kafka": 3000}


async def chaos(plan: Plan, env: DemoEnvironment, faults_of: Callable[[RandomSource], WorkerFaults]) -> Result:
    """Run the plan until all is handled, with the faults of the servers that run."""
    rng = RandomSource(plan.seed)
    traffic = make_traffic(plan.seed, plan.batches, plan.largest, MIX)
    first, disturbed, last = backlogs(traffic.messages, plan.backlogs)
    planned = plan.faults
    rng.shuffle(planned)
    moments = sorted(rng.uniform(FIRST_FAULT, LAST_FAULT) for _ in planned)
    env.pool.set(transactions_in_flight=plan.in_flight, micro_batch_records=plan.micro_batch)
    env.pool.stop_seconds = STOP_SECONDS
    faults, progress = faults_of(rng), Progress()
    capacity = Capacity(env, faults.processes)
    upstream = Upstream(env, plan.seed, plan.upstream / 100, plan.java_codecs)
    env.when_idle = upstream.abort_hanging
    async with upstream.running(), progress.sampled(env.database, lambda: env.handled_in_deleted_topics):
        for _ in range(plan.workers):
            env.pool.start()
        for _ in range(plan.relays):
            env.pool.start_relay()
        before = await capacity.measure(first, upstream.partitions)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(upstream.send(disturbed, traffic, plan.changes))
            timed = takewhile(
                lambda _: not plan.minutes or progress.now < plan.minutes * 60, zip(moments, planned, strict=True)
            )
            await _disturb(env, upstream, faults, progress, timed, lambda: rng.random() < plan.overlapping / 100)
        await env.until_all_handled()
        await faults.finish()
        after = await capacity.measure(last, upstream.partitions)
    stopped = [f"a worker ended with {code}" for code in await env.pool.stop_all() if code]
    observed = await env.observations()
    lost = await env.ask(RANGES_TAKEN_FOR_LOST)
    skipped = [f"{lost} ranges of offsets were taken for lost"] if lost else []
    wrong = faults.wrong + stopped + skipped + await env.wrong(traffic, observed)
    return Result(
        seed=plan.seed,
        records=len(traffic.messages),
        refused=sum(poison.deliveries for poison in traffic.poison),
        faults=Counter(Fault(moment.fault) for moment in progress.faults),
        late_stops=faults.late_stops,
        upstream=upstream.counts,
        progress=progress,
        before=before,
        after=after,
        events=observed.counts.total(),
        events_by_copies=observed.events_by_copies(),
        wrong=wrong,
    )


async def _disturb(
    env: DemoEnvironment,
    upstream: Upstream,
    faults: WorkerFaults,
    progress: Progress,
    planned: Iterable[tuple[float, Fault]],
    overlaps: Callable[[], bool],
) -> None:
    """Cause each fault when that ratio of the records was sent and as many were handled.

    Unless the next fault `overlaps`, wait until the service has recovered.
    """
    began = await env.position()
    for moment, fault in planned:
        upstream.limit = moment
        await env.until(partial(upstream.has_reached, moment, since=began))
        with progress.fault(fault):
            await faults.cause(fault)
        if not overlaps() and await _goes_on(env, upstream):
            progress.recovered()
    upstream.limit = 1.0


async def _goes_on(env: DemoEnvironment, upstream: Upstream) -> bool:
    """Wait until a further record is handled; return False if there was none."""
    position, asked = -1, time.monotonic()
    upstream.limit = 1.0

    async def further() -> bool:
        nonlocal position, asked
        now = await env.position()
        if position < 0:
            position = now
        if now > position or not upstream.paused or time.monotonic() - asked < IDLE_SECONDS:
            return now > position
        asked = time.monotonic()
        return await env.is_all_handled()

    await env.until(further)
    return await env.position() > position


async def run_alone(plan: Plan, folder: Path) -> Result:
    """Run on new servers in this folder, behind proxies; stop them at the end."""
    async with contextlib.AsyncExitStack() as stack:
        disks = tuple(
            stack.enter_context(LimitedDisk(folder / name).mounted(size))
            for name, size in DISK_MEBIBYTES.items()
            if plan.full_disks
        )
        servers, kafka = EmbeddedServers(folder), ProxiedKafka(folder)
        servers.kafka = kafka
        clock = SteppedClock(folder / "clock") if plan.clock_steps else None
        if clock is not None:
            servers.postgres = EmbeddedPostgres(folder, environment=clock.environment)
        to_kafka = await _proxy(stack, kafka.proxied)
        await stack.enter_async_context(_running(servers))
        database = await servers.postgres.create_database(f"chaos_{plan.seed}_{os.getpid()}")
        await migration.upgrade(database)
        to_postgres = await stack.enter_async_context(TcpProxy(_place(database)).running())
        env = await stack.enter_async_context(
            DemoEnvironment(servers.kafka.address, database, f"chaos-{os.getpid()}.", folder)
        )
        env.pool.set(database_url=_through(database, to_postgres), broker_url=f"{LOOPBACK}:{to_kafka.port}")
        return await chaos(plan, env, lambda rng: Faults(env, servers, rng, (to_postgres, to_kafka), disks, clock))


async def run_cluster(plan: Plan, folder: Path) -> Result:
    """Run on three new brokers and a new primary with a standby in this folder; stop them at the end."""
    kafka, postgres = ProxiedCluster(folder, REPLICAS), PostgresPair(folder)
    async with contextlib.AsyncExitStack() as stack:
        to_kafka = [await _proxy(stack, listener) for listener in kafka.proxied]
        await stack.enter_async_context(_running(postgres))
        await stack.enter_async_context(_running(kafka))
        database = await create_database(postgres.url, f"chaos_{plan.seed}_{os.getpid()}")
        await migration.upgrade(database)
        prefix = f"chaos-{os.getpid()}."
        unreplicated = [topic for topic in TOPICS if topic.topic in UNREPLICATED]
        await ensure_topics(kafka.address, prefix, topics=unreplicated)
        env = await stack.enter_async_context(
            DemoEnvironment(kafka.address, database, prefix, folder, replicas=REPLICAS)
        )
        to_postgres, url = [], database
        for member in postgres.members:
            path = await stack.enter_async_context(TcpProxy((LOOPBACK, member.port)).running())
            to_postgres.append(path)
            url = url.replace(f"{LOOPBACK}:{member.port}", f"{LOOPBACK}:{path.port}")
        env.pool.set(database_url=url, broker_url=",".join(f"{LOOPBACK}:{path.port}" for path in to_kafka))
        paths = (*to_postgres, *to_kafka)
        return await chaos(plan, env, lambda rng: ClusterFaults(env, kafka, postgres, rng, paths))


async def _proxy(stack: contextlib.AsyncExitStack, listener: ProxiedListener) -> TcpProxy:
    """Run a proxy to the listener until the stack ends."""
    path = await stack.enter_async_context(TcpProxy(listener.behind_proxy).running())
    listener.proxy_port = path.port
    return path


class _Server(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@contextlib.asynccontextmanager
async def _running(servers: _Server) -> AsyncIterator[None]:
    await servers.start()
    try:
        yield
    finally:
        await servers.stop()


def _place(database: str) -> tuple[str, int]:
    url = make_url(database)
    return url.host or "localhost", url.port or POSTGRES_PORT


def _through(database: str, path: TcpProxy) -> str:
    return make_url(database).set(port=path.port).render_as_string(hide_password=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the servers' state, the workers' log and the report")
    parser.add_argument("--sum", type=Path, nargs="*", help="run nothing; add up the reports in `folder` and these")
    parser.add_argument("--profile", choices=PROFILES, help="the plan that the other options change")
    for option in fields(Plan):
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=int)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    folder = given.pop("folder").resolve()
    if (others := given.pop("sum", None)) is not None:
        sys.stdout.write(f"{summed([folder, *others])}\n")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    plan = replace(PROFILES[given.pop("profile", "short")], **given)
    result = asyncio.run(run_cluster(plan, folder) if plan.cluster else run_alone(plan, folder))
    written = chaos_report.write(result, folder)
    sys.stdout.write(f"{result}\n" + "".join(f"  {line}\n" for line in result.wrong[:50]) + f"report: {written}\n")
    return int(bool(result.wrong))


if __name__ == "__main__":
    sys.exit(main())
