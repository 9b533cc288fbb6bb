"""A real Prometheus scrapes a real worker: every query of the dashboard and every alert rule finds its series."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from els_stream.embedded.ports import new_ports
from els_stream.embedded.servers import Addresses
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from tests.support import factories, grafana, programs
from tests.support.cli import els_process
from tests.support.worker_process import running_worker, send, until

ALERTS: Final = grafana.DASHBOARD.with_name("alerts.yml")
SELECTOR: Final = re.compile(r"\b((?:els|huleedu|batches)_[a-z_]+)(\{[^}]*\})?")
MATCHER: Final = re.compile(r'(\w+)(=~|=)"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str
    http: aiohttp.ClientSession

    async def ready(self) -> bool:
        try:
            async with self.http.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def values(self, query: str) -> list[float]:
        """Return the value of each series of an instant query."""
        async with self.http.get(f"{self.url}/api/v1/query", params={"query": query}) as response:
            body: dict[str, Any] = await response.json()
        assert body["status"] == "success", (query, body)
        return [float(series["value"][1]) for series in body["data"]["result"]]

    async def without_result(self, queries: list[str]) -> list[str]:
        """Return the queries that have no series, or one that is not a number."""
        found = {query: await self.values(query) for query in queries}
        return [query for query, values in found.items() if not values or not all(map(math.isfinite, values))]

    async def rules(self) -> dict[str, str]:
        async with self.http.get(f"{self.url}/api/v1/rules") as response:
            (group,) = (await response.json())["data"]["groups"]
        return {rule["name"]: rule["health"] for rule in group["rules"]}


@asynccontextmanager
async def prometheus(worker_url: str, folder: Path) -> AsyncIterator[Prometheus]:
    try:
        program, environment = programs.find("prometheus")
    except programs.ProgramMissing as missing:
        pytest.fail(str(missing))
    (port,) = new_ports(1)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": "els_stream", "static_configs": [{"targets": [worker_url.removeprefix("http://")]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        env=environment,
    )
    async with aiohttp.ClientSession() as http:
        server = Prometheus(f"http://127.0.0.1:{port}", http)
        try:
            await until(server.ready, alive=lambda: process.returncode is None)
            yield server
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


def selectors(text: str) -> Iterator[str]:
    """Yield a query for each metric that the text names, with each value that a matcher demands, one at a time."""
    for name, matchers in SELECTOR.findall(text):
        demanded = [
            f'{{{label}="{value}"}}'
            for label, _, values in MATCHER.findall((matchers or "").replace("!~", "!"))
            for value in values.split("|")
        ]
        yield from (f"count({name}{one})" for one in demanded or [""])


async def test_every_query_and_rule_finds_its_series(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    assert kafka_topics
    environment = {"ELS_BROKER_URL": addresses.broker, "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}
    code, _, errors = await els_process(environment, "purge", "--older-than-days", "14")  # writes the log of purges
    assert code == 0, errors
    queries = [query.replace(grafana.RATE_INTERVAL, "1m") for panel in grafana.PANELS for query, _ in panel.queries]
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    series = sorted({one for text in (*queries, *(rule["expr"] for rule in rules)) for one in selectors(text)})
    async with (
        running_worker(addresses, database, topic_prefix, tmp_path / "worker.log") as worker,
        prometheus(worker.url, tmp_path) as server,
    ):

        async def scraped() -> bool:
            return await server.values("up") == [1.0]

        async def all_found() -> bool:
            return not await server.without_result([*queries, *series])

        async def evaluated() -> bool:
            return set((await server.rules()).values()) == {"ok"}

        await until(scraped)
        registration = factories.registration(essays=3)
        contents = [factories.content(number=n) for n in range(4)]
        await send(
            addresses,
            topic_prefix,
            (BATCH_REGISTERED, registration),
            *((CONTENT_PROVISIONED, content) for content in contents),
        )
        await until(evaluated)
        try:
            await until(all_found)
        except TimeoutError:
            assert await server.without_result([*queries, *series]) == []
        assert (await server.rules()).keys() == {rule["alert"] for rule in rules}
