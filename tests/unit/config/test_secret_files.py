"""Secrets are read from files, again for each connection, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from els_stream.config.settings import Settings, load_settings
from els_stream.config.settings_reference import is_secret, rows
from els_stream.errors import ConfigurationError
from els_stream.web.auth import Access, RequestInfo
from els_stream.web.problems import Problem

URL = "postgresql://ada:{}@db.school:5432/essays"
FIRST, SECOND = "s3cr3t-of-monday", "s3cr3t-of-tuesday"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows(Settings):
        monkeypatch.delenv(row.variable, raising=False)


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "url"
    path.write_text(URL.format(FIRST) + "\n")
    monkeypatch.setenv("ELS_DATABASE_URL_FILE", str(path))
    return path


def refused() -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return str(caught.value)


def test_every_secret_can_be_given_as_a_file() -> None:
    fields = Settings.model_fields
    secrets = [name for name, field in fields.items() if is_secret(field)]

    assert "database_url" in secrets
    assert [name for name in secrets if f"{name}_file" not in fields] == []


def test_a_rotated_file_is_read_anew(secret: Path) -> None:
    settings = load_settings()
    assert FIRST in settings.database

    secret.write_text(URL.format(SECOND))

    assert SECOND in settings.database


@pytest.mark.parametrize("content", [b"", b"\n", b"mysql://ada:s3cr3t@db/essays", b"\xff", b"x" * 100_000])
def test_a_file_that_became_wrong_leaves_the_secret_as_it_was(secret: Path, content: bytes) -> None:
    settings = load_settings()
    secret.write_bytes(content)

    with capture_logs() as logs:
        assert FIRST in settings.database

    (line,) = logs
    assert line["event"] == "secret_file_ignored"
    assert line["variable"] == "ELS_DATABASE_URL_FILE"
    assert "s3cr3t" not in str(line)


def test_a_file_that_is_gone_leaves_the_secret_as_it_was(secret: Path) -> None:
    settings = load_settings()
    secret.unlink()

    assert FIRST in settings.database


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"\xff", "is not UTF-8 text"), (b"x" * 100_000, "is longer than 65536 bytes")],
)
def test_a_wrong_file_is_refused_with_its_name(secret: Path, content: bytes, reason: str) -> None:
    secret.write_bytes(content)

    assert refused() == f"ELS_DATABASE_URL_FILE={secret}: the file {reason}"


def test_a_missing_file_is_refused_with_its_name(secret: Path) -> None:
    secret.unlink()

    assert refused() == f"ELS_DATABASE_URL_FILE={secret}: the file can't be read: No such file or directory"


def test_a_wrong_value_in_a_file_is_refused_without_the_value(secret: Path) -> None:
    secret.write_text("mysql://ada:s3cr3t@db/essays")

    text = refused()

    assert text.startswith("ELS_DATABASE_URL (from ELS_DATABASE_URL_FILE)=mysql://***: must be postgresql://")
    assert "s3cr3t" not in text


@pytest.mark.usefixtures("secret")
def test_a_secret_and_its_file_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_DATABASE_URL", URL.format(SECOND))

    assert refused() == "ELS_DATABASE_URL and ELS_DATABASE_URL_FILE are both set: set one of them"


def test_the_effective_settings_show_the_file_and_not_its_content(secret: Path) -> None:
    shown = load_settings().masked()

    assert shown["ELS_DATABASE_URL_FILE"] == str(secret)
    assert FIRST not in str(shown)


def test_a_rotated_token_is_asked_for_at_the_next_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text(FIRST)
    monkeypatch.setenv("ELS_WEB_TOKEN_FILE", str(path))
    access = Access.of(load_settings(web_host="10.0.0.1"))

    def ask(token: str) -> None:
        access.check(RequestInfo("GET", "/", "els.example", {"Authorization": f"Bearer {token}"}))

    ask(FIRST)
    path.write_text(SECOND)
    ask(SECOND)
    with pytest.raises(Problem):
        ask(FIRST)
