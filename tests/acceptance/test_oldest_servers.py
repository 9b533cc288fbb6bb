"""The demo, which checks everything itself, on the oldest supported servers: Kafka 3.9 and PostgreSQL 15."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from els_stream.db.suitability import OLDEST_POSTGRESQL
from els_stream.embedded.jars import default_store
from els_stream.embedded.kafka import EmbeddedKafka
from tests.support.local_postgres import LocalPostgres
from tests.support.packaged_servers import find_postgres, required

OLDEST_KAFKA: Final = "3.9.1"
HASHES: Final = Path(__file__).parents[1] / "support" / f"kafka-{OLDEST_KAFKA}.json"


@asynccontextmanager
async def oldest_servers(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Run both servers; yields the addresses of broker and database."""
    kafka = EmbeddedKafka(folder, store=default_store(OLDEST_KAFKA), hashes=HASHES)
    async with LocalPostgres(required(find_postgres(), "PostgreSQL"), folder) as postgres:
        await postgres.create()
        try:
            await kafka.start()
            yield kafka.address, postgres.url()
        finally:
            await kafka.stop()


@pytest.mark.long
async def test_the_demo_passes_on_the_oldest_servers(tmp_path: Path) -> None:
    binaries = required(find_postgres(), "PostgreSQL")
    assert binaries.parent.name == str(OLDEST_POSTGRESQL), "this test needs the oldest supported release"
    async with oldest_servers(tmp_path) as (broker, database):
        named = {"ELS_BROKER_URL": broker, "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path / "state")}
        for arguments in (["migrate"], ["topics"], ["demo", "--batches", "24"], ["verify", "--kafka"], ["status"]):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "els_stream", *arguments), env=os.environ | named, stdout=PIPE, stderr=STDOUT
            )
            printed, _ = await process.communicate()
            assert process.returncode == 0, f"els {arguments[0]}\n{printed.decode()}"
