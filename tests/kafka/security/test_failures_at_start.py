"""What can't work at the start is one line that says why, and a worker goes on once it is repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from els_stream.embedded.kafka_security import INTERNAL
from els_stream.embedded.servers import Addresses
from els_stream.events.topics import VALIDATION_FAILED
from tests.support.command_processes import run_command
from tests.support.kafka_rights import Grant, Kind, Right, allow, withdraw
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka
from tests.support.secure_traffic import Traffic
from tests.support.token_endpoint import token_endpoint
from tests.support.worker_process import starting_worker, until, until_reason

UNUSED: Final = "postgresql://nobody:secret-of-nobody@127.0.0.1:1/nothing"
SECONDS: Final = 10

FAILURES: Final = {
    "wrong password": "it refuses user or password of frizzle (SCRAM-SHA-512)",
    "wrong password, PLAIN": "it refuses user or password of frizzle (PLAIN)",
    "unknown user": "it refuses user or password of liz (SCRAM-SHA-512)",
    "wrong CA": "its certificate is not trusted (ELS_KAFKA_CA_FILE): unable to get local issuer certificate",
    "expired certificate": "its certificate has expired",
    "another host name": "its certificate is for another IP address",
    "no client certificate": (
        "it refuses the client certificate, or wants one (ELS_KAFKA_CERTIFICATE_FILE): "
        "tlsv13 alert certificate required"
    ),
    "untrusted client certificate": (
        "it refuses the client certificate, or wants one (ELS_KAFKA_CERTIFICATE_FILE): sslv3 alert certificate unknown"
    ),
    "TLS to a plain port": (
        "it closed the connection in the TLS handshake: the port may have no TLS (ELS_KAFKA_SECURITY_PROTOCOL)"
    ),
    "plain to a TLS port": ("it closed the connection: the port may want TLS or a login (ELS_KAFKA_SECURITY_PROTOCOL)"),
    "no login": ("it closed the connection: the port may want a certificate (ELS_KAFKA_CERTIFICATE_FILE) or a login"),
    "a login where there is none": "this port has no login (ELS_KAFKA_SECURITY_PROTOCOL)",
    "refused token": 'it refuses the access token: {"status":"invalid_token"}',
    "no token": "the token endpoint URL answered 401: invalid_client",
}


def wrong_environments(secure: SecureKafka, plain: str) -> dict[str, dict[str, str]]:
    """Return the settings of each failure but those of tokens; `plain` is the address of a broker without TLS."""
    ours, strangers = secure.certificate, secure.stranger.issue(USER)
    login, wrong = secure.environment("LOGIN"), {"ELS_KAFKA_PASSWORD": "wr0ng-bus-0472"}
    clear = secure.environment("CLEAR", "PLAIN", SECURITY_PROTOCOL="SASL_PLAINTEXT", CA_FILE=None)
    return {
        "wrong password": login | wrong,
        "wrong password, PLAIN": clear | wrong,
        "unknown user": login | {"ELS_KAFKA_USER": "liz"},
        "wrong CA": secure.environment("LOGIN", CA_FILE=secure.stranger.file),
        "expired certificate": secure.environment("EXPIRED"),
        "another host name": secure.environment("ELSEWHERE"),
        "no client certificate": secure.environment("MTLS", None),
        "untrusted client certificate": secure.environment(
            "MTLS", None, CERTIFICATE_FILE=strangers.chain, KEY_FILE=strangers.key
        ),
        "TLS to a plain port": login | {"ELS_BROKER_URL": plain},
        "plain to a TLS port": {"ELS_BROKER_URL": secure.kafka.address_of("LOGIN")},
        "no login": secure.environment("LOGIN", None),
        "a login where there is none": secure.environment("MTLS", CERTIFICATE_FILE=ours.chain, KEY_FILE=ours.key),
    }


@asynccontextmanager
async def environment_of(failure: str, secure: SecureKafka, plain: str) -> AsyncIterator[dict[str, str]]:
    if "token" not in failure:
        yield wrong_environments(secure, plain)[failure]
        return
    async with token_endpoint(secure.authority.issue("id"), USER, PASSWORD) as endpoint:
        endpoint.expired, endpoint.answers = True, failure == "refused token"
        yield secure.with_tokens(endpoint, "LOGIN")


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_command_ends_with_one_line_that_says_why(
    failure: str, secure: SecureKafka, addresses: Addresses, tmp_path: Path
) -> None:
    async with environment_of(failure, secure, addresses.broker) as environment:
        ended = await run_command(("topics",), environment | {"ELS_DATABASE_URL": UNUSED}, tmp_path, seconds=SECONDS)
        address = environment["ELS_BROKER_URL"]
        url = environment.get("ELS_KAFKA_OAUTH_TOKEN_URL", "")
        cause = FAILURES[failure].replace("URL", url) if failure == "no token" else FAILURES[failure]

    assert ended.stderr.splitlines() == [f"els: no connection to the broker {address}: {cause}"]
    assert (ended.code, ended.stdout) == (3, "")


@pytest.mark.parametrize("command", [("verify", "--kafka"), ("--debug", "topics")], ids=" ".join)
async def test_other_commands_say_it_too_and_none_shows_the_password(
    command: tuple[str, ...], secure: SecureKafka, database: str, tmp_path: Path
) -> None:
    environment = secure.environment("CLEAR", "PLAIN", SECURITY_PROTOCOL="SASL_PLAINTEXT", CA_FILE=None)
    wrong = {"ELS_KAFKA_PASSWORD": "wr0ng-bus-0472", "ELS_DATABASE_URL": database}

    ended = await run_command(command, environment | wrong, tmp_path, seconds=SECONDS)

    cause = FAILURES["wrong password, PLAIN"]
    address = environment["ELS_BROKER_URL"]
    assert ended.stderr.splitlines()[-1] == f"els: no connection to the broker {address}: {cause}"
    assert ended.code == 3
    assert "wr0ng" not in ended.stdout + ended.stderr


async def test_a_worker_waits_for_a_password_that_is_accepted(
    secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    secret, log = tmp_path / "password", tmp_path / "worker.log"
    secret.write_text("wr0ng-bus-0472")
    environment = secure.environment("LOGIN", PASSWORD=None, PASSWORD_FILE=secret)
    async with starting_worker(addresses, database, worker_topics, log, **environment) as worker:
        await until_reason(worker, "consumer_failing", "it refuses user or password of frizzle")

        secret.write_text(PASSWORD)
        await until(worker.ready)
        traffic = Traffic(secure.admin, worker_topics)
        await traffic.send(1)
        await traffic.until_assigned(1)

    written = log.read_text()
    assert "wr0ng" not in written
    assert PASSWORD not in written
    assert "Traceback" not in written


@pytest.mark.parametrize("missing", ["topic", pytest.param("group", marks=pytest.mark.long)])
async def test_a_worker_names_the_right_that_it_lacks(
    missing: str,
    secure: SecureKafka,
    addresses: Addresses,
    database: str,
    worker_topics: str,
    tmp_path: Path,
) -> None:
    log = tmp_path / "worker.log"
    name = f"{worker_topics}group" if missing == "group" else worker_topics + VALIDATION_FAILED
    right = Grant(USER, Right.READ, Kind.GROUP if missing == "group" else Kind.TOPIC, name)
    await withdraw(secure.admin, right)
    environment = secure.environment("LOGIN")
    async with starting_worker(addresses, database, worker_topics, log, **environment) as worker:
        await until_reason(worker, "not_authorized", name)

        await allow(secure.admin, right)
        await until(worker.ready)
        traffic = Traffic(secure.admin, worker_topics)
        await traffic.send(1)
        await traffic.until_assigned(1)

    assert "Traceback" not in log.read_text()
    assert INTERNAL not in log.read_text()
