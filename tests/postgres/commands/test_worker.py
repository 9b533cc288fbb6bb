"""A worker on a database that is older than its code ends at once, with the command that helps."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import pytest

from els_stream.embedded.servers import Addresses

WAYS = (("els_stream", "worker", "--web-port", "0"), ("faust", "-A", "els_stream.app", "worker"))


@pytest.mark.parametrize("way", WAYS, ids=["els worker", "faust worker"])
async def test_a_worker_refuses_a_database_that_is_older_than_its_code(
    addresses: Addresses, empty_database: str, way: tuple[str, ...]
) -> None:
    environment = os.environ | {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": empty_database,
        "ELS_WEB_PORT": "0",
    }
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", *way, env=environment, stdout=PIPE, stderr=PIPE)
    _, complaint = await worker.communicate()

    assert worker.returncode == 2
    assert complaint.decode().splitlines()[-1].startswith("els: the database has no schema")
    assert b"els migrate" in complaint
