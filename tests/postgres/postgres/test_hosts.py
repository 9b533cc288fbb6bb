"""Several hosts in one address: each has its own time limit, and an error names what each of them said."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from sqlalchemy import make_url

from els_stream.postgres.connect import Connector, NoUsableHost
from els_stream.postgres.session import SessionNeeds
from tests.support.silent_server import silent_server

NEEDS = SessionNeeds(name="els test")
LIMIT_SECONDS = 1.0


def with_hosts(database: str, *before: str, parameters: str = "") -> str:
    url = make_url(database)
    hosts = ",".join([*before, f"{url.host}:{url.port}"])
    return f"postgresql://{url.username}:{url.password}@{hosts}/{url.database}{parameters}"


async def test_a_silent_host_costs_its_time_limit_once(database: str) -> None:
    async with silent_server() as silent:
        connector = Connector(with_hosts(database, silent), NEEDS, LIMIT_SECONDS)
        for least, most in ((LIMIT_SECONDS, 60.0), (0.0, LIMIT_SECONDS)):
            started = time.monotonic()
            await (await connector.connect()).close()
            assert least <= time.monotonic() - started < most


async def test_the_time_limit_may_be_in_the_address(database: str) -> None:
    async with silent_server() as silent:
        url = with_hosts(database, silent, parameters="?connect_timeout=1")
        await (await Connector(url, NEEDS, seconds=100).connect()).close()


async def test_a_caller_that_gives_up_early_reaches_the_next_host_the_next_time(database: str) -> None:
    """As the check of readiness does, whose time limit is shorter than a host's."""
    async with silent_server() as silent:
        connector = Connector(with_hosts(database, silent), NEEDS, seconds=100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connector.connect()

        async with asyncio.timeout(30):
            await (await connector.connect()).close()


async def test_a_refused_host_is_passed_over(database: str) -> None:
    await (await Connector(with_hosts(database, "127.0.0.1:1"), NEEDS).connect()).close()


async def test_the_error_names_what_each_host_said(database: str) -> None:
    url = make_url(database)
    async with silent_server() as silent:
        address = f"postgresql://{url.username}:{url.password}@127.0.0.1:1,{silent}/{url.database}"
        with pytest.raises(NoUsableHost) as caught:
            await Connector(address, NEEDS, 0.2).connect()

    assert str(caught.value) == f"127.0.0.1:1: Connection refused; {silent}: no answer within 0.2 s"


async def test_a_wrong_password_is_not_tried_on_other_hosts(database: str) -> None:
    url = make_url(database)
    address = f"postgresql://{url.username}:wrong@{url.host}:{url.port},127.0.0.1:1/{url.database}"

    with pytest.raises(asyncpg.InvalidPasswordError):
        await Connector(address, NEEDS).connect()
