"""A worker exits at once if the database has no schema or an old one, and names the command that helps."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import pytest

from els_stream.embedded.servers import Addresses

COMMANDS = (("els_stream", "worker", "--web-port", "0"), ("faust", "-A", "els_stream.app", "worker"))


@pytest.mark.parametrize("command", COMMANDS, ids=["els worker", "faust worker"])
async def test_a_worker_exits_with_2_if_the_database_has_no_schema(
    addresses: Addresses, empty_database: str, command: tuple[str, ...]
) -> None:
    environment = os.environ | {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": empty_database,
        "ELS_WEB_PORT": "0",
    }
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, env=environment, stdout=PIPE, stderr=PIPE
    )
    _, stderr = await worker.communicate()

    assert worker.returncode == 2
    assert stderr.decode().splitlines()[-1].startswith("els: the database has no schema")
    assert b"els migrate" in stderr
