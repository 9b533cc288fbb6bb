"""What happens to logins and rights while a worker runs: it says so, and goes on by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from els_stream.embedded.servers import Addresses
from els_stream.events.topics import CONTENT_PROVISIONED, SLOT_ASSIGNED
from tests.support.kafka_rights import Grant, Kind, Right, allow, withdraw
from tests.support.secure_kafka import PASSWORD, SESSION_SECONDS, USER, SecureKafka
from tests.support.secure_traffic import Traffic
from tests.support.token_endpoint import token_endpoint
from tests.support.worker_process import running_worker, until, until_reason


async def test_sessions_are_renewed_before_they_end(
    secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    """The broker cuts a connection that has not logged in again in time; here that would be every four seconds."""
    log = tmp_path / "worker.log"
    traffic = Traffic(secure.admin, worker_topics)
    environment = secure.environment("RENEWED")
    async with running_worker(addresses, database, worker_topics, log, **environment) as worker:
        before = len(log.read_text())
        end = time.monotonic() + 2 * SESSION_SECONDS
        while time.monotonic() < end:
            await traffic.send(5)
            await traffic.until_assigned(traffic.sent)
        assert await worker.ready()

        written = log.read_text()[before:]

    assert '"level": "error"' not in written
    assert '"level": "warning"' not in written


async def test_a_password_that_the_broker_rotates_is_named_until_it_is_known(
    secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    secret, log = tmp_path / "password", tmp_path / "worker.log"
    secret.write_text(PASSWORD)
    environment = secure.environment("RENEWED", PASSWORD=None, PASSWORD_FILE=secret)
    traffic = Traffic(secure.admin, worker_topics)
    async with running_worker(addresses, database, worker_topics, log, **environment) as worker:
        await traffic.send(1)
        await traffic.until_assigned(1)
        await secure.set_password("another-bus-0473")
        try:
            await until_reason(worker, "consumer_failing", "it refuses user or password of frizzle")
            await until_reason(worker, "broker_unreachable", "it refuses user or password of frizzle")
            await traffic.send(1)

            secret.write_text("another-bus-0473")
            await until(worker.ready)
            await traffic.until_assigned(2)
        finally:
            await secure.set_password(PASSWORD)

    written = log.read_text()
    assert PASSWORD not in written
    assert "another-bus" not in written
    assert "Traceback" not in written


@pytest.mark.long
async def test_a_token_that_is_refused_is_named_until_another_comes(
    secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    traffic = Traffic(secure.admin, worker_topics)
    async with token_endpoint(secure.authority.issue("id"), USER, PASSWORD) as endpoint:
        endpoint.lifetime_seconds = SESSION_SECONDS
        environment = secure.with_tokens(endpoint, "RENEWED")
        async with running_worker(addresses, database, worker_topics, log, **environment) as worker:
            endpoint.expired = True
            await until_reason(worker, "consumer_failing", "it refuses the access token")
            await traffic.send(1)

            endpoint.expired = False
            await until(worker.ready)
            await traffic.until_assigned(1)

    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("taken", ["input topic", pytest.param("group", marks=pytest.mark.long), "output topic"])
async def test_rights_that_are_taken_away_are_named_and_work_again_when_given_back(
    taken: str, secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    grant = {
        "input topic": Grant(USER, Right.READ, Kind.TOPIC, worker_topics + CONTENT_PROVISIONED),
        "group": Grant(USER, Right.READ, Kind.GROUP, f"{worker_topics}group"),
        "output topic": Grant(USER, Right.WRITE, Kind.TOPIC, worker_topics + SLOT_ASSIGNED),
    }[taken]
    environment = secure.environment("LOGIN") | {"ELS_METADATA_MAX_AGE_SECONDS": "2"}
    traffic = Traffic(secure.admin, worker_topics)
    async with running_worker(addresses, database, worker_topics, log, **environment) as worker:
        await traffic.send(4)
        await traffic.until_assigned(4)
        await withdraw(secure.admin, grant)
        await traffic.send(8)
        await until_reason(worker, "not_authorized", grant.name)

        await allow(secure.admin, grant)
        await until(worker.ready)
        await traffic.send(4)
        await traffic.until_assigned(16)

    assert "Traceback" not in log.read_text()
