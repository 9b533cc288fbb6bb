"""Kills the containers of docker-compose.yml under traffic, and checks the result.

It runs against a project without data: `docker compose up --build --detach --wait worker` after
`docker compose down --volumes`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.demo.random_source import RandomSource
from els_stream.demo.traffic import make_traffic
from tests.acceptance.chaos import MIX
from tests.support.demo_environment import DemoEnvironment
from tests.support.progress import Progress

BROKER: Final = "127.0.0.1:29092"
DATABASE: Final = "postgresql://els:local-only@127.0.0.1:5432/els"
GROUP: Final = str(Settings.model_fields["consumer_group"].default)
LARGEST_BATCH: Final = 60
# Ratios of the handled records.
FIRST_FAULT: Final = 0.1
LAST_FAULT: Final = 0.85


async def docker(*arguments: str) -> str:
    """Run Docker in the checkout and return what it prints. Raises RuntimeError with its errors."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {errors.decode(errors='replace').strip()}")
    return printed.decode()


async def kill(service: str, rng: RandomSource) -> None:
    """Kill one container of the service, as a crash would, and start it again."""
    container = rng.choice(sorted((await docker("compose", "ps", "--quiet", service)).split()))
    await docker("kill", container)
    await docker("start", container)


async def rehearse(seed: int, batches: int, kills: Counter[str], folder: Path) -> list[str]:
    """Send traffic, kill containers meanwhile, and return all that is wrong in the end."""
    rng = RandomSource(seed)
    traffic = make_traffic(seed, batches, LARGEST_BATCH, MIX)
    total = len(traffic.messages)
    planned = sorted(kills.elements())
    rng.shuffle(planned)
    moments = sorted(rng.uniform(FIRST_FAULT, LAST_FAULT) for _ in planned)
    progress = Progress()
    async with (
        DemoEnvironment(BROKER, DATABASE, "", folder, GROUP) as env,
        progress.sampled(env.database, lambda: env.handled_in_deleted_topics),
        asyncio.TaskGroup() as tasks,
    ):
        if await env.position():
            return ["the project has handled records before: `docker compose down --volumes` removes its data"]
        tasks.create_task(env.send(traffic.messages))
        for moment, service in zip(moments, planned, strict=True):
            await env.until_handled(round(moment * total))
            with progress.fault(service):
                await kill(service, rng)
            sys.stdout.write(f"{progress.now:6.1f} s: {service} killed at {await env.position()} of {total} records\n")
        await env.until_all_handled()
        observed = await env.observations()
        sys.stdout.write(
            f"{progress.now:6.1f} s: all handled; {observed.counts.total()} events, {observed.copies.total()} copies\n"
        )
        return await env.wrong(traffic, observed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--kills", type=int, default=3, help="of the broker and the database; twice as many of workers")
    given = parser.parse_args()
    kills = Counter(worker=2 * given.kills, kafka=given.kills, postgres=given.kills)
    with tempfile.TemporaryDirectory() as folder:
        wrong = asyncio.run(rehearse(given.seed, given.batches, kills, Path(folder)))
    sys.stdout.write("".join(f"wrong: {line}\n" for line in wrong[:50]) or "nothing lost, nothing doubled\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
