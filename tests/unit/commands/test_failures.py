"""Whatever a command raises ends as one line with an exit code; --debug adds the traceback."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner, Result

from els_stream.cli import main
from els_stream.commands import settings as settings_command
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows(Settings):
        monkeypatch.delenv(row.variable, raising=False)


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(error: BaseException, *options: str) -> Result:
        def fail() -> None:
            raise error

        monkeypatch.setattr(settings_command, "load_settings", fail)
        return CliRunner().invoke(main, [*options, "settings"], prog_name="els")

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("the stool is too low"), 2, "els: the stool is too low"),
        (KafkaConnectionError("nobody home"), 3, "els: the broker does not answer: KafkaConnectionError"),
        (TimeoutError(), 3, "els: a server does not answer: no answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), 3, "els: a server does not answer: refused"),
        (PermissionError(errno.EACCES, "Permission denied", "/els"), 2, "els: /els: Permission denied"),
        (KeyError("the essay of Ada"), 70, "els: unexpected: KeyError at "),
        (asyncio.CancelledError(), 70, "els: unexpected: a cancelled task at "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_ends_as_one_line(
    ends_with: Callable[..., Result], error: BaseException, code: int, line: str
) -> None:
    ended = ends_with(error)

    assert ended.exit_code == code
    assert ended.stdout == ""
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1
    assert "Ada" not in ended.stderr
    assert ("els --debug COMMAND" in ended.stderr) is (code == 70)


def test_debug_prints_the_traceback_before_the_line(ends_with: Callable[..., Result]) -> None:
    ended = ends_with(KeyError("essay"), "--debug")

    assert ended.exit_code == 70
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert ended.stderr.splitlines()[-1].startswith("els: unexpected: KeyError at ")


def test_a_reader_that_has_gone_is_no_failure_of_a_server(ends_with: Callable[..., Result]) -> None:
    ended = ends_with(BrokenPipeError(errno.EPIPE, "Broken pipe"))

    assert (ended.exit_code, ended.stderr) == (1, "")
