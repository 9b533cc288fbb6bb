"""Sends traffic through workers that are killed, on servers that are restarted, and checks the result.

`python -m tests.acceptance.chaos --help` runs it at any length on new servers. The same seed sends the same records and
plans the same faults.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path

from els_stream.db import schema
from els_stream.demo.random_source import RandomSource
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.servers import EmbeddedServers
from tests.support.demo_environment import DemoEnvironment
from tests.support.faults import Fault, Faults

# Every tenth record is repeated in any mix.
MIX = Mix(late=0.2, refused=0.01)
# Ratio of the handled records: the last fault happens while the service is still busy.
LAST_FAULT = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The traffic and the faults of a run. The seed decides their times and order."""

    seed: int = 1
    batches: int = 700
    largest: int = 60
    workers: int = 1
    kills: int = 0
    replacements: int = 0
    freezes: int = 0
    restarts: int = 0
    broker_restarts: int = 0
    in_flight: int = 2
    micro_batch: int = 100

    @property
    def faults(self) -> list[Fault]:
        return (
            [Fault.KILL] * self.kills
            + [Fault.REPLACE] * self.replacements
            + [Fault.FREEZE] * self.freezes
            + [Fault.RESTART_POSTGRES] * self.restarts
            + [Fault.RESTART_KAFKA] * self.broker_restarts
        )


@dataclass(slots=True)
class Result:
    plan: Plan
    records: int
    refused: int
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} of {fault}" for fault, count in Counter(self.plan.faults).items())
        sent = f"{self.records} records, {self.refused} of them refused"
        return f"seed {self.plan.seed}: {sent}, in {self.seconds:.0f} s; {faults}; {len(self.wrong)} differences"


async def chaos(plan: Plan, env: DemoEnvironment, servers: EmbeddedServers) -> Result:
    started = time.monotonic()
    rng = RandomSource(plan.seed)
    traffic = make_traffic(plan.seed, plan.batches, plan.largest, MIX)
    total = len(traffic.messages)
    result = Result(plan, total, sum(poison.deliveries for poison in traffic.poison))
    planned = plan.faults
    rng.shuffle(planned)
    env.pool.set(transactions_in_flight=plan.in_flight, micro_batch_records=plan.micro_batch)
    faults = Faults(env, servers, rng)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(env.send(traffic.messages))
        for _ in range(plan.workers):
            env.pool.start()
        for moment, fault in zip(sorted(rng.random() * LAST_FAULT for _ in planned), planned, strict=True):
            await env.until_handled(round(moment * total))
            await faults.cause(fault)
    await env.until_all_handled()
    result.wrong = faults.wrong + await env.wrong(traffic)
    result.seconds = time.monotonic() - started
    return result


async def run_alone(plan: Plan, folder: Path) -> Result:
    """Run on new servers in this folder; stop them at the end."""
    servers = EmbeddedServers(folder)
    await servers.start()
    try:
        database = await servers.postgres.create_database(f"chaos_{plan.seed}_{os.getpid()}")
        await schema.upgrade(database)
        async with DemoEnvironment(servers.kafka.address, database, f"chaos-{os.getpid()}.", folder) as env:
            return await chaos(plan, env, servers)
    finally:
        await servers.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the servers' state and the workers' log")
    for option in fields(Plan):
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=int, default=option.default)
    given = vars(parser.parse_args())
    folder = given.pop("folder").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    result = asyncio.run(run_alone(Plan(**given), folder))
    sys.stdout.write(f"{result}\n" + "".join(f"  {line}\n" for line in result.wrong[:50]))
    return int(bool(result.wrong))


if __name__ == "__main__":
    sys.exit(main())
