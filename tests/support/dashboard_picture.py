"""Draw docs/dashboard.svg: the dashboard's queries, asked of a Prometheus that scrapes two workers under the demo.

`make dashboard-picture` runs this module, in about two minutes.
"""

from __future__ import annotations

import asyncio
import math
import re
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer

from els_stream.config.settings import Settings
from els_stream.db import migration
from els_stream.demo.messages import Message
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.databases import create_database
from els_stream.embedded.servers import Addresses, down, up
from els_stream.kafka.topics import ensure_topics
from tests.support import grafana, programs
from tests.support.cli import els_process
from tests.support.generated_docs import DOCS
from tests.support.panel_charts import Chart, Curve, picture
from tests.support.paths import reachable_folder
from tests.support.prometheus import Labels, Prometheus, prometheus
from tests.support.worker_process import running_worker, until

PICTURE: Final = DOCS / "dashboard.svg"
TITLE: Final = "The dashboard while two workers process the demo"
PREFIX: Final = "dashboard."
BATCHES: Final = 48
RECORDS_PER_SECOND: Final = 60
STEP_SECONDS: Final = 2
RATE_INTERVAL: Final = "10s"


async def send(broker: str, messages: Sequence[Message]) -> None:
    """Send the records at a steady pace."""
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        started = time.monotonic()
        for number, message in enumerate(messages):
            await asyncio.sleep(max(0.0, started + number / RECORDS_PER_SECOND - time.monotonic()))
            await producer.send_and_wait(PREFIX + message.topic, message.value, key=message.key)


async def charts(server: Prometheus, start: float, end: float) -> list[Chart]:
    found = []
    for panel in grafana.PANELS:
        curves: list[Curve] = []
        for query, legend in panel.queries:
            asked = query.replace(grafana.RATE_INTERVAL, RATE_INTERVAL)
            answer = await server.curves(asked, start, end, STEP_SECONDS)
            curves += [Curve(_name(legend, labels), _finite(values)) for labels, values in answer if _finite(values)]
        found.append(Chart(panel.title, panel.unit, curves, is_number=panel.kind == "stat"))
    return found


def _name(legend: str, labels: Labels) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).replace("huleedu.", "")


def _finite(values: dict[float, float]) -> dict[float, float]:
    return {at: value for at, value in values.items() if math.isfinite(value)}


async def run(found: Addresses, folder: Path) -> str:
    database = await create_database(found.database_url, "dashboard")
    await migration.upgrade(database)
    await ensure_topics(found.broker, PREFIX)
    environment = {"ELS_BROKER_URL": found.broker, "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(folder)}
    await els_process(environment, "purge", "--older-than-days", "14")  # writes the log of purges
    traffic = make_traffic(1, BATCHES, mix=Mix(refused=0.02))
    async with AsyncExitStack() as stack:
        workers = [running_worker(found, database, PREFIX, folder / f"worker-{number}.log") for number in range(2)]
        urls = [(await stack.enter_async_context(worker)).url for worker in workers]
        server = await stack.enter_async_context(prometheus(urls, folder))

        async def scraped() -> bool:
            return await server.values("up") == [1.0, 1.0]

        await until(scraped)
        start = time.time()
        await send(found.broker, traffic.messages)
        end = time.time()
        return picture(TITLE, await charts(server, start, end), start, end)


async def main(folder: Path) -> None:
    settings = Settings(state_dir=folder)
    try:
        PICTURE.write_text(await run(await up(settings, fsync=False), folder))
    finally:
        await down(settings, remove_data=True)


if __name__ == "__main__":
    try:
        programs.find("prometheus")
    except programs.ProgramMissing as missing:
        sys.exit(f"els: {missing}")
    with reachable_folder() as state:
        asyncio.run(main(state))
