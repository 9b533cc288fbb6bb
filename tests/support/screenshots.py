"""Take the pictures of the page for docs/: an empty and a busy service, one batch, and a database outage."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from aiokafka import AIOKafkaProducer
from playwright.async_api import Browser, async_playwright

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.db import migration
from els_stream.embedded.databases import create_database
from els_stream.embedded.servers import EmbeddedServers, down, up
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, VALIDATION_FAILED
from els_stream.kafka.topics import ensure_topics
from tests.support import chromium, factories
from tests.support.browser_page import BrowserPage
from tests.support.paths import reachable_folder
from tests.support.waiting import until
from tests.support.worker_process import Worker, running_worker

DOCS: Final = CHECKOUT / "docs"
HEIGHTS: Final = {1280: 1040, 390: 844}
Screen: TypeAlias = tuple[int, Literal["light", "dark"]]
SCREENS: Final[tuple[Screen, ...]] = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
BATCH: Final = "9c-hamlet-or-not"
SIZES: Final = {
    "7a-svenska-noveller": (30, 21),
    BATCH: (12, 14),
    "sv2-min-mormor-mot-maskinen": (25, 25),
    "en6-the-romantics": (28, 9),
    "guest-4f1c": (31, 31),
    "9b-moby-dick-but-shorter": (24, 17),
    "eng5-frankenstein": (30, 2),
    "guest-77ab": (18, 18),
}
CONTENTS_PER_SECOND: Final = 12


async def photograph(
    browser: Browser, url: str, name: str, screens: Sequence[Screen], route: str = "#/", *, health: str = "ok"
) -> None:
    for width, scheme in screens:
        page = await browser.new_page(viewport={"width": width, "height": HEIGHTS[width]}, color_scheme=scheme)
        await BrowserPage(page, url).open(route)
        await page.locator(f"body[data-health={health}]").wait_for(timeout=20_000)
        await page.wait_for_timeout(1500)
        await page.screenshot(path=DOCS / f"page-{name}-{width}-{scheme}.png")
        await page.close()


async def fill(broker: str, prefix: str) -> None:
    """Send contents to all batches in turn, slowly enough for the charts."""
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:

        async def send(topic: str, value: bytes, batch_id: str) -> None:
            await producer.send_and_wait(prefix + topic, value, key=batch_id.encode())

        for number, (batch_id, (slots, _)) in enumerate(SIZES.items()):
            fields = {"class_id": "class-9b"} if number % 3 == 2 else {}
            await send(BATCH_REGISTERED, factories.registration(batch_id, essays=slots, **fields), batch_id)
        await send(BATCH_REGISTERED, factories.registration(BATCH, essays=7), BATCH)
        await send(CONTENT_PROVISIONED, factories.content("8c-not-registered-yet"), "8c")
        await send(CONTENT_PROVISIONED, b"Dear batch orchestrator,\nplease find attached \xff\xfe", "-")
        for number in range(6):
            await send(
                CONTENT_PROVISIONED, factories.content(BATCH, number=number, file_size_bytes=f"{number} MB"), BATCH
            )
        for number in range(max(contents for _, contents in SIZES.values())):
            for batch_id, (_, contents) in SIZES.items():
                if number < contents:
                    failed = number % 11 == 4
                    make = factories.failure if failed else factories.content
                    topic = VALIDATION_FAILED if failed else CONTENT_PROVISIONED
                    await send(topic, make(batch_id, number=number), batch_id)
                    await asyncio.sleep(1 / CONTENTS_PER_SECOND)


async def wait_for_samples(worker: Worker) -> None:
    """Wait for two more samples of the charts, so that the last covers the newest data."""

    async def samples() -> int:
        _, _, body = await worker.get("/api/history")
        return len(json.loads(body)["records_per_second"])

    before = await samples()

    async def two_more() -> bool:
        return await samples() >= before + 2

    await until(two_more)


async def take(worker: Worker, browser: Browser, servers: EmbeddedServers, topics: tuple[str, str]) -> None:
    await photograph(browser, worker.url, "empty", SCREENS[1:2])
    await fill(*topics)
    await wait_for_samples(worker)
    await photograph(browser, worker.url, "busy", SCREENS)
    await photograph(browser, worker.url, "batch", SCREENS[::3], f"#/batch/{BATCH}")
    servers.postgres.pause()
    try:
        await photograph(browser, worker.url, "down", SCREENS[:1], health="down")
    finally:
        servers.postgres.resume()


async def main(browser_path: str, folder: Path) -> None:
    settings = Settings(state_dir=folder)
    found = await up(settings, fsync=False)
    try:
        database = await create_database(found.database_url, "pictures")
        await migration.upgrade(database)
        await ensure_topics(found.broker, "pictures.")
        log = folder / "worker.log"
        async with (
            running_worker(found, database, "pictures.", log) as worker,
            async_playwright() as playwright,
            await playwright.chromium.launch(
                executable_path=browser_path, args=chromium.ARGUMENTS, chromium_sandbox=os.geteuid() != 0
            ) as browser,
        ):
            await take(worker, browser, EmbeddedServers(folder), (found.broker, "pictures."))
    finally:
        await down(settings, remove_data=True)


if __name__ == "__main__":
    path = chromium.find()
    if path is None:
        sys.exit(chromium.HELP)
    with reachable_folder() as state:
        asyncio.run(main(path, state))
