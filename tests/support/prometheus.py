"""A real Prometheus that scrapes workers and evaluates the alert rules of deploy/monitoring."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiohttp
import yaml

from els_stream.embedded.ports import new_ports
from tests.support import grafana, programs
from tests.support.worker_process import until

ALERTS: Final = grafana.DASHBOARD.with_name("alerts.yml")
Labels: TypeAlias = dict[str, str]


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
        return [float(series["value"][1]) for series in await self._result("query", query=query)]

    async def curves(
        self, query: str, start: float, end: float, step: float
    ) -> list[tuple[Labels, dict[float, float]]]:
        """Return labels and values by time of each series of a range query; times are Unix time."""
        asked = {"query": query, "start": str(start), "end": str(end), "step": str(step)}
        return [
            (series["metric"], {float(at): float(value) for at, value in series["values"]})
            for series in await self._result("query_range", **asked)
        ]

    async def without_result(self, queries: list[str]) -> list[str]:
        """Return the queries that have no series, or one that is not a number."""
        found = {query: await self.values(query) for query in queries}
        return [query for query, values in found.items() if not values or not all(map(math.isfinite, values))]

    async def rules(self) -> dict[str, str]:
        async with self.http.get(f"{self.url}/api/v1/rules") as response:
            (group,) = (await response.json())["data"]["groups"]
        return {rule["name"]: rule["health"] for rule in group["rules"]}

    async def _result(self, kind: str, **asked: str) -> list[Any]:
        async with self.http.get(f"{self.url}/api/v1/{kind}", params=asked) as response:
            body: dict[str, Any] = await response.json()
        assert body["status"] == "success", (asked, body)
        found: list[Any] = body["data"]["result"]
        return found


@asynccontextmanager
async def prometheus(worker_urls: Sequence[str], folder: Path) -> AsyncIterator[Prometheus]:
    """Start one that scrapes each second. Raises ProgramMissing where there is none."""
    program, environment = programs.find("prometheus")
    (port,) = new_ports(1)
    targets = [url.removeprefix("http://") for url in worker_urls]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "els_stream", "static_configs": [{"targets": targets}]}],
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
