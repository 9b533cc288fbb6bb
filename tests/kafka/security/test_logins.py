"""A worker connects by each kind of login and takes events from one topic to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from els_stream.embedded.servers import Addresses
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka
from tests.support.secure_traffic import Traffic
from tests.support.token_endpoint import token_endpoint
from tests.support.worker_process import running_worker

# Their fast form are the configurations of the documentation, which a command uses.
OTHERS: Final = ("SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "mtls")


@asynccontextmanager
async def endpoint_and_environment(secure: SecureKafka, kind: str) -> AsyncIterator[dict[str, str]]:
    if kind == "mtls":
        yield secure.mtls()
    elif kind == "OAUTHBEARER":
        async with token_endpoint(secure.authority.issue("id"), USER, PASSWORD) as endpoint:
            yield secure.with_tokens(endpoint, "LOGIN")
    else:
        yield secure.environment("LOGIN", kind)


@pytest.mark.parametrize(
    "kind",
    ["SCRAM-SHA-512", *(pytest.param(kind, marks=pytest.mark.long) for kind in OTHERS)],
)
async def test_a_worker_logs_in_and_works(
    kind: str, secure: SecureKafka, addresses: Addresses, database: str, worker_topics: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    traffic = Traffic(secure.admin, worker_topics)
    async with (
        endpoint_and_environment(secure, kind) as environment,
        running_worker(addresses, database, worker_topics, log, **environment, ELS_LOG_LEVEL="debug"),
    ):
        await traffic.send(1)
        await traffic.until_assigned(1)

    assert PASSWORD not in log.read_text()
