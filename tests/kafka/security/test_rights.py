"""The rights in docs/connecting.md are enough for each process, and the configurations there work as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.setting_types import CHECKOUT
from els_stream.events.topics import DEAD_LETTER, INPUT_TOPICS, OUTPUT_TOPICS
from tests.support.command_processes import run_command
from tests.support.kafka_rights import Grant, Kind, Pattern, Right, allow, withdraw
from tests.support.outbox_rows import batch_rows, commit, wait_until_empty
from tests.support.relays import running_relay
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka
from tests.support.token_endpoint import token_endpoint

PAGE: Final = CHECKOUT / "docs" / "connecting.md"
KAFKA: Final = PAGE.read_text().partition("\n## Kafka\n")[2].partition("\n## ")[0]
BLOCKS: Final = dict(re.findall(r"^### ([^\n]+)\n\n```sh\n(.*?)^```$", KAFKA, re.MULTILINE | re.DOTALL))
SECONDS: Final = 20
OUTPUTS: Final = (*OUTPUT_TOPICS, DEAD_LETTER)


def on_topics(prefix: str, topics: tuple[str, ...], *rights: Right) -> list[Grant]:
    return [Grant(USER, right, Kind.TOPIC, prefix + topic) for topic in topics for right in rights]


@pytest.mark.parametrize("command", [("status",), ("verify", "--kafka")], ids=" ".join)
async def test_the_rights_in_the_table_are_enough_for_commands_that_read(
    command: tuple[str, ...], secure: SecureKafka, database: str, secure_topics: str, tmp_path: Path
) -> None:
    right = Right.DESCRIBE if command == ("status",) else Right.READ
    grants = [
        *on_topics(secure_topics, INPUT_TOPICS, Right.READ),
        *on_topics(secure_topics, OUTPUTS, right),
    ]
    await allow(secure.admin, *grants)

    environment = secure.environment("LOGIN") | {"ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": secure_topics}
    ended = await run_command(command, environment, tmp_path, seconds=SECONDS)

    await withdraw(secure.admin, *grants)
    assert (ended.code, ended.stderr) == (0, "")


async def test_a_topic_without_rights_is_not_taken_for_one_that_is_missing_or_empty(
    secure: SecureKafka, database: str, secure_topics: str, tmp_path: Path
) -> None:
    grants = on_topics(secure_topics, (*INPUT_TOPICS, *OUTPUT_TOPICS), Right.READ)
    await allow(secure.admin, *grants)

    environment = secure.environment("LOGIN") | {"ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": secure_topics}
    ended = await run_command(("verify", "--kafka"), environment, tmp_path, seconds=SECONDS)

    await withdraw(secure.admin, *grants)
    assert ended.stderr == f"els: the broker gives this user no right on the topic {secure_topics}{DEAD_LETTER}\n"
    assert ended.code == 3


async def test_the_rights_in_the_table_are_enough_to_create_topics(
    secure: SecureKafka, database: str, topic_prefix: str, tmp_path: Path
) -> None:
    rights = (Right.CREATE, Right.DESCRIBE, Right.DESCRIBE_CONFIGS)
    grants = [Grant(USER, right, Kind.TOPIC, topic_prefix, Pattern.PREFIXED) for right in rights]
    environment = secure.environment("LOGIN") | {"ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": topic_prefix}
    refused = await run_command(("topics",), environment, tmp_path, seconds=SECONDS)
    await allow(secure.admin, *grants)

    ended = await run_command(("topics",), environment, tmp_path, seconds=SECONDS)

    await withdraw(secure.admin, *grants)
    assert (refused.code, refused.stderr.count("\n")) == (3, 1)
    assert "authoriz" in refused.stderr.lower()
    assert (ended.code, ended.stderr) == (0, "")


async def test_the_rights_in_the_table_are_enough_for_a_relay(
    secure: SecureKafka, engine: AsyncEngine, secure_topics: str
) -> None:
    grants = on_topics(secure_topics, OUTPUTS, Right.WRITE)
    await allow(secure.admin, *grants)

    await commit(engine, batch_rows("batch of a relay"))

    async with running_relay(engine, secure.login(), secure_topics):
        await wait_until_empty(engine)
    await withdraw(secure.admin, *grants)


@pytest.mark.parametrize("title", BLOCKS)
async def test_a_configuration_works_as_it_is_written(
    title: str, secure: SecureKafka, database: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Only addresses, users and places of files are those of the test."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    listener = "MTLS" if "mTLS" in title else "LOGIN"
    grants = [
        Grant(USER, right, Kind.TOPIC, topic_prefix, Pattern.PREFIXED)
        for right in (Right.CREATE, Right.DESCRIBE, Right.DESCRIBE_CONFIGS)
    ]
    await allow(secure.admin, *grants)
    async with token_endpoint(secure.authority.issue("id"), USER, PASSWORD) as endpoint:
        here = {
            r"kafka\.example\.com:\d+": secure.kafka.address_of(listener),
            r"/etc/els/(kafka|id)-ca\.pem": str(secure.authority.file),
            r"/etc/els/(kafka-password|client-secret)": str(tmp_path / "password"),
            r"/etc/els/client\.pem": str(secure.certificate.chain),
            r"/etc/els/client\.key": str(secure.certificate.key),
            r"https://id\.example\.com/token": endpoint.url,
            r"USER=els\b": f"USER={USER}",
            r"CLIENT_ID=els\b": f"CLIENT_ID={endpoint.client_id}",
        }
        written = BLOCKS[title]
        for pattern, replacement in here.items():
            written = re.sub(pattern, replacement, written)
        environment = dict(re.findall(r"^export (\w+)=(\S+)$", written, re.MULTILINE))
        environment |= {"ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": topic_prefix}
        ended = await run_command(("topics",), environment, tmp_path, seconds=SECONDS)

    await withdraw(secure.admin, *grants)
    assert (ended.code, ended.stderr) == (0, "")


def test_the_page_has_a_configuration_of_each_kind() -> None:
    assert [title for title in ("SCRAM", "mTLS", "OAUTHBEARER") if not any(title in block for block in BLOCKS)] == []
