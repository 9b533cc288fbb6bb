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
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from els_stream.db import schema
from els_stream.demo.random_source import RandomSource
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.ports import LOOPBACK
from els_stream.embedded.servers import POSTGRES_PORT, EmbeddedServers
from tests.support import chaos_report
from tests.support.chaos_report import Result
from tests.support.demo_environment import DemoEnvironment
from tests.support.faults import Fault, Faults
from tests.support.limited_disk import LimitedDisk
from tests.support.progress import Progress
from tests.support.proxied_kafka import ProxiedKafka
from tests.support.tcp_proxy import TcpProxy
from tests.support.topic_changes import Change
from tests.support.upstream import Upstream

# Every tenth record is repeated in any mix.
MIX: Final = Mix(late=0.2, refused=0.01)
# Ratios of the handled records. Before the first fault and after the last the rate without faults is measured.
FIRST_FAULT: Final = 0.1
LAST_FAULT: Final = 0.85
# Ratio of the faults that begin before the service has recovered from the last one.
OVERLAPPING: Final = 0.25
DISK_MEBIBYTES: Final = {"postgres": 3000, "kafka": 3000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The traffic and the faults of a run. The seed decides their times and order.

    `upstream` is the percentage of records that other producers than aiokafka send. `java_codecs` of these are Java's.
    """

    seed: int = 1
    batches: int = 700
    largest: int = 60
    workers: int = 1
    relays: int = 0
    kills: int = 0
    replacements: int = 0
    freezes: int = 0
    restarts: int = 0
    broker_restarts: int = 0
    cuts: int = 0
    half_open: int = 0
    slow: int = 0
    full_disks: int = 0
    upstream: int = 0
    java_codecs: int = 0
    raised: int = 0
    expired: int = 0
    recreated: int = 0
    compacted: int = 0
    in_flight: int = 2
    micro_batch: int = 100

    @property
    def faults(self) -> list[Fault]:
        counts = {
            Fault.KILL: self.kills,
            Fault.REPLACE: self.replacements,
            Fault.FREEZE: self.freezes,
            Fault.RESTART_POSTGRES: self.restarts,
            Fault.RESTART_KAFKA: self.broker_restarts,
            Fault.CUT: self.cuts,
            Fault.HALF_OPEN: self.half_open,
            Fault.SLOW: self.slow,
            Fault.FULL_DISK: self.full_disks,
        }
        return [fault for fault, count in counts.items() for _ in range(count)]

    @property
    def changes(self) -> list[Change]:
        counts = {
            Change.RAISE: self.raised,
            Change.EXPIRE: self.expired,
            Change.RECREATE: self.recreated,
            Change.COMPACT: self.compacted,
        }
        return [change for change, count in counts.items() for _ in range(count)]


# Two cores take about 1 000 records/s while faults go on; `long` is for a machine that has nothing else to do.
PROFILES: Final = {
    "short": Plan(
        seed=7,
        batches=400,
        workers=2,
        kills=10,
        freezes=2,
        restarts=3,
        broker_restarts=1,
        cuts=4,
        half_open=2,
        slow=2,
        upstream=60,
        java_codecs=2,
        raised=1,
        expired=2,
        recreated=1,
        compacted=1,
    ),
    "medium": Plan(
        seed=8,
        batches=5_000,
        workers=2,
        relays=1,
        kills=150,
        replacements=5,
        freezes=15,
        restarts=12,
        broker_restarts=4,
        cuts=15,
        half_open=10,
        slow=10,
        full_disks=2,
        upstream=60,
        java_codecs=5,
        raised=4,
        expired=10,
        recreated=3,
        compacted=2,
    ),
    "long": Plan(
        seed=9,
        batches=25_000,
        workers=2,
        relays=1,
        kills=800,
        replacements=20,
        freezes=50,
        restarts=50,
        broker_restarts=15,
        cuts=40,
        half_open=20,
        slow=20,
        full_disks=4,
        upstream=60,
        java_codecs=5,
        raised=8,
        expired=40,
        recreated=8,
        compacted=4,
    ),
}


async def chaos(
    plan: Plan,
    env: DemoEnvironment,
    servers: EmbeddedServers,
    paths: tuple[TcpProxy, ...] = (),
    disks: tuple[LimitedDisk, ...] = (),
) -> Result:
    """Run the plan until all is handled. The faults of the network need `paths`, those of disks `disks`."""
    rng = RandomSource(plan.seed)
    traffic = make_traffic(plan.seed, plan.batches, plan.largest, MIX)
    total = len(traffic.messages)
    planned = plan.faults
    rng.shuffle(planned)
    moments = sorted(rng.uniform(FIRST_FAULT, LAST_FAULT) for _ in planned)
    env.pool.set(transactions_in_flight=plan.in_flight, micro_batch_records=plan.micro_batch)
    faults, progress = Faults(env, servers, rng, paths, disks), Progress()
    upstream = Upstream(env, plan.seed, plan.upstream / 100, plan.java_codecs)
    async with upstream.running(), progress.sampled(env.database), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(upstream.send(traffic, plan.changes))
        for _ in range(plan.workers):
            env.pool.start()
        for _ in range(plan.relays):
            env.pool.start_relay()
        for moment, fault in zip(moments, planned, strict=True):
            await env.until_handled(round(moment * total))
            with progress.fault(fault):
                await faults.cause(fault)
            if rng.random() >= OVERLAPPING:
                await env.until_handled(min(total, await env.position() + 1))
                progress.recovered()
        await sending
        await env.until_all_handled()
    stopped = [f"a worker ended with {code}" for code in await env.pool.stop_all() if code]
    observed = await env.observations()
    wrong = faults.wrong + stopped + await env.wrong(traffic, observed)
    return Result(
        seed=plan.seed,
        records=total,
        refused=sum(poison.deliveries for poison in traffic.poison),
        faults=Counter(planned),
        upstream=upstream.counts,
        progress=progress,
        undisturbed=(FIRST_FAULT, LAST_FAULT),
        events=observed.counts.total(),
        copies=observed.copies.total(),
        wrong=wrong,
    )


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
        to_kafka = await stack.enter_async_context(TcpProxy(kafka.behind_proxy).running())
        kafka.proxy_port = to_kafka.port
        await stack.enter_async_context(_running(servers))
        database = await servers.postgres.create_database(f"chaos_{plan.seed}_{os.getpid()}")
        await schema.upgrade(database)
        to_postgres = await stack.enter_async_context(TcpProxy(_place(database)).running())
        env = await stack.enter_async_context(
            DemoEnvironment(servers.kafka.address, database, f"chaos-{os.getpid()}.", folder)
        )
        env.pool.set(database_url=_through(database, to_postgres), broker_url=f"{LOOPBACK}:{to_kafka.port}")
        return await chaos(plan, env, servers, (to_postgres, to_kafka), disks)


@contextlib.asynccontextmanager
async def _running(servers: EmbeddedServers) -> AsyncIterator[EmbeddedServers]:
    await servers.start()
    try:
        yield servers
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
    parser.add_argument("--profile", choices=PROFILES, help="the plan that the other options change")
    for option in fields(Plan):
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=int)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    folder = given.pop("folder").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plan = replace(PROFILES[given.pop("profile", "short")], **given)
    result = asyncio.run(run_alone(plan, folder))
    written = chaos_report.write(result, folder)
    sys.stdout.write(f"{result}\n" + "".join(f"  {line}\n" for line in result.wrong[:50]) + f"report: {written}\n")
    return int(bool(result.wrong))


if __name__ == "__main__":
    sys.exit(main())
