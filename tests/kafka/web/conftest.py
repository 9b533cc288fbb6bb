"""A worker process with a web server, on a database and topics of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from els_stream.embedded.servers import Addresses
from tests.support.worker_process import Worker, running_worker


@pytest.fixture
async def worker(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> AsyncIterator[Worker]:
    assert kafka_topics
    async with running_worker(addresses, database, topic_prefix, tmp_path / "worker.log") as worker:
        yield worker
