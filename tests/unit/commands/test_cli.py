"""The command line: a short help, one line for each error, and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Context, Group
from click.testing import CliRunner, Result

from els_stream.cli import ENTRIES, main
from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for row in rows(Settings):
        monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.setenv("ELS_STATE_DIR", str(tmp_path / "state"))


def els(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="els")


def every_command() -> Iterator[tuple[str, ...]]:
    for name in ENTRIES:
        command = main.get_command(Context(main), name)
        if isinstance(command, Group):
            yield from ((name, inner) for inner in command.commands)
        yield (name,)


def test_help_fits_a_screen_and_names_every_command() -> None:
    lines = els("--help").stdout.splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines[lines.index("Commands:") + 1 :]} == set(ENTRIES)
    assert "Exit codes: 0" in els("-h").stdout


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_the_help_of_each_command_has_an_example_and_exit_codes(command: tuple[str, ...]) -> None:
    shown = els(*command, "--help")

    assert shown.exit_code == 0
    assert f"Example: els {' '.join(command)}" in shown.stdout or f"$(els {' '.join(command)}" in shown.stdout
    assert "Exit codes: 0 " in " ".join(shown.stdout.split())


def completed_by(shell: str, words: str) -> list[str]:
    """Return the completions that a shell gets for Tab at the end of `words`."""
    environment = {"_ELS_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    script = Path(sys.executable).with_name("els")
    return subprocess.run([script], check=True, capture_output=True, env=environment, text=True).stdout.split("\n")


def test_bash_completes_commands_and_options() -> None:
    script = Path(sys.executable).with_name("els")
    ask = """
        eval "$("$0" completion bash)"
        complete -p els
        COMP_WORDS=("$0" pu) COMP_CWORD=1; _els_completion "$0"; printf '%s\n' "${COMPREPLY[@]}"
        COMP_WORDS=("$0" purge --dry) COMP_CWORD=2 COMPREPLY=(); _els_completion "$0"; printf '%s\n' "${COMPREPLY[@]}"
    """
    shell = subprocess.run(["/bin/bash", "-c", ask, script], check=True, capture_output=True, text=True)
    lines = shell.stdout.splitlines()

    assert "-F _els_completion els" in lines[0]
    assert lines[1:] == ["purge", "--dry-run"]


def test_zsh_completes_commands_with_their_help() -> None:
    assert els("completion", "zsh").stdout.lstrip().startswith("#compdef els")
    assert completed_by("zsh", "els pu")[:3] == ["plain", "purge", ENTRIES["purge"].help]
    assert els("completion", "fish").exit_code == 2


def test_help_imports_no_command() -> None:
    loaded = "import sys; from els_stream.cli import main; main(['--help'], standalone_mode=False); "
    heavy = "sys.exit(any(name in sys.modules for name in ('faust', 'sqlalchemy', 'pydantic', 'aiokafka')))"

    subprocess.run([sys.executable, "-c", loaded + heavy], check=True, capture_output=True)


def test_the_command_works_from_any_folder_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "els_stream", "settings", "--json"]

    printed = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, text=True).stdout

    assert json.loads(printed)["ELS_WEB_PORT"] == 6066


def test_settings_prints_every_variable_once_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_DATABASE_URL", "postgresql://ada:s3cr3t@db/essays")

    printed = els("settings")

    assert printed.exit_code == 0
    assert "ELS_DATABASE_URL=postgresql+asyncpg://ada:***@db/essays" in printed.stdout.splitlines()
    assert [line.partition("=")[0] for line in printed.stdout.splitlines()] == [row.variable for row in rows(Settings)]
    assert "s3cr3t" not in printed.output


def test_settings_prints_the_same_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_DATABASE_URL", "postgresql://ada:s3cr3t@db/essays")

    printed = json.loads(els("settings", "--json").stdout)

    assert set(printed) == {row.variable for row in rows(Settings)}
    assert printed["ELS_USE_ESSAY_STATES_AS_INVENTORY"] is True
    assert printed["ELS_DATABASE_URL"] == "postgresql+asyncpg://ada:***@db/essays"


def test_settings_explains_the_allowed_values() -> None:
    assert "Takes a whole number from 0 to 65535." in els("settings", "--explain").stdout


@pytest.mark.parametrize("command", ["settings", "up", "down", "servers", "migrate", "topics"])
def test_a_wrong_setting_exits_with_2_and_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_WEB_PORT", "6O66")

    result = els(command)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "els: ELS_WEB_PORT='6O66': must be a whole number from 0 to 65535\n"


@pytest.mark.parametrize("command", ["worker", "migrate", "settings"])
def test_contradicting_strategies_exit_with_2_and_advice(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_USE_CTE_UPSERT_ASSIGNMENT", "true")
    monkeypatch.setenv("ELS_USE_ESSAY_STATES_AS_INVENTORY", "true")

    result = els(command)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "els: ELS_USE_CTE_UPSERT_ASSIGNMENT=true and ELS_USE_ESSAY_STATES_AS_INVENTORY=true contradict each other: "
        "leave one unset, or set it to false\n"
    )


@pytest.mark.parametrize("command", ["servers", "migrate", "topics"])
def test_without_servers_it_exits_with_2_and_names_els_up(command: str) -> None:
    result = els(command)

    assert result.exit_code == 2
    assert "`els up`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_servers_prints_the_addresses_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_BROKER_URL", "kafka.school:9092")
    monkeypatch.setenv("ELS_DATABASE_URL", "postgresql://db/essays")

    printed = els("servers", "--json")

    assert json.loads(printed.stdout) == {
        "broker": "kafka.school:9092",
        "database_url": "postgresql://db/essays",
        "web": None,
    }


def test_an_unreachable_database_exits_with_3_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_BROKER_URL", "127.0.0.1:1")
    monkeypatch.setenv("ELS_DATABASE_URL", "postgresql://ada:s3cr3t@127.0.0.1:1/essays")

    result = els("migrate")

    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "s3cr3t" not in result.output


def test_an_unknown_command_exits_with_2() -> None:
    assert els("fly").exit_code == 2


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("batch", "essay\udcff"), "an argument is not UTF-8 text"),
        (("erase", "--student", "\udcffada"), "an argument is not UTF-8 text"),
        (("dlq", "show", str(2**63)), f"{2**63} is not in the range"),
        (("dlq", "replay", "1", str(2**63)), f"{2**63} is not in the range"),
        (("dlq", "list", "--before", str(2**63)), f"{2**63} is not in the range"),
        (("dlq", "skip", "t", "0", "0", str(2**63), "--note", "n"), f"{2**63} is not in the range"),
        (("dlq", "skip", "t", str(2**31), "0", "0", "--note", "n"), f"{2**31} is not in the range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value[:2]),
)
def test_a_value_that_no_column_can_have_exits_with_2(command: tuple[str, ...], reason: str) -> None:
    result = els(*command)

    assert result.exit_code == 2
    assert reason in result.stderr


def test_the_script_is_installed_beside_the_interpreter() -> None:
    script = Path(sys.executable).with_name("els")

    assert subprocess.run([script, "--version"], check=True, capture_output=True, cwd="/", text=True).stdout
    assert (CHECKOUT / "pyproject.toml").is_file()
