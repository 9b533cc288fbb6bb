"""Two workers whose transactions the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.batch_harness import BatchHarness
from tests.support.staged_workers import Worker, worker


@pytest.fixture
async def worker_a(harness: BatchHarness) -> AsyncIterator[Worker]:
    async with worker(harness) as one:
        yield one


@pytest.fixture
async def worker_b(harness: BatchHarness) -> AsyncIterator[Worker]:
    async with worker(harness) as another:
        yield another
