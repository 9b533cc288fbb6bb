"""A real Prometheus scrapes a real worker: every query of the dashboard and every alert rule finds its series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from els_stream.embedded.servers import Addresses
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from tests.support import factories, grafana
from tests.support.cli import els_process
from tests.support.prometheus import ALERTS, prometheus
from tests.support.worker_process import running_worker, send, until

SELECTOR: Final = re.compile(r"\b((?:els|huleedu|batches)_[a-z_]+)(\{[^}]*\})?")
MATCHER: Final = re.compile(r'(\w+)(=~|=)"([^"]*)"')


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
        prometheus([worker.url], tmp_path) as server,
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
