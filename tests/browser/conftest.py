from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from els_stream.embedded.servers import Addresses
from tests.support import chromium
from tests.support.browser_page import BrowserPage
from tests.support.worker_process import Worker, running_worker


@pytest.fixture(scope="session")
def chromium_path() -> str:
    found = chromium.find()
    if found is None:
        pytest.fail("no Chromium for the browser tests: run `make browser`")
    return found


@pytest.fixture
async def worker(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> AsyncIterator[Worker]:
    assert kafka_topics
    async with running_worker(addresses, database, topic_prefix, tmp_path / "worker.log") as worker:
        yield worker


@pytest.fixture
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path, args=chromium.ARGUMENTS, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        await browser.close()


@pytest.fixture
async def browser_page(worker: Worker, browser: Browser) -> AsyncIterator[BrowserPage]:
    """The open page. After each test: it asked no other host for anything, and the console shows no error."""
    browser_page = BrowserPage(await browser.new_page(), worker.url)
    await browser_page.open()
    yield browser_page
    assert browser_page.foreign_requests == []
    assert browser_page.console_errors == []
