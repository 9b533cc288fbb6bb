"""Commands that only use the database need no broker in the settings."""

from __future__ import annotations

import pytest

from tests.support.cli import els


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (("migrate",), 0),
        (("purge", "--older-than-days", "14", "--dry-run"), 0),
        (("batch", "nowhere"), 3),
        (("erase", "nowhere", "--dry-run"), 3),
        (("verify",), 0),
        (("watch", "--once"), 0),
        (("dlq", "list"), 0),
        (("dlq", "show", "1"), 3),
        (("dlq", "replay", "--all"), 0),
        (("dlq", "discard", "--all", "--yes"), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_command_runs_without_the_address_of_a_broker(
    database: str, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], exit_code: int
) -> None:
    monkeypatch.delenv("ELS_BROKER_URL", raising=False)

    ended = await els({"ELS_DATABASE_URL": database}, *command)

    assert ended.exit_code == exit_code, ended.output
    assert "ELS_BROKER_URL" not in ended.output


@pytest.mark.parametrize("command", [("status",), ("verify", "--kafka"), ("relay",)], ids=" ".join)
async def test_a_command_that_uses_kafka_names_the_missing_address(
    database: str, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("ELS_BROKER_URL", raising=False)

    ended = await els({"ELS_DATABASE_URL": database}, *command)

    assert ended.exit_code == 2
    assert "ELS_BROKER_URL" in ended.output
