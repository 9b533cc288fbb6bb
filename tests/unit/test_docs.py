"""What the README and the runbook say, held against the code: tables, tests, commands, targets, links and codes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from els_stream.cli import ENTRIES
from els_stream.config.setting_types import CHECKOUT
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.observability.health import Code
from tests.support.generated_docs import README, full_registry, rewritten, table

RUNBOOK = CHECKOUT / "docs" / "runbook.md"
PAGES = [README, RUNBOOK, CHECKOUT / "CHANGELOG.md"]
INVARIANTS = [f"I{number}" for number in range(1, 9)]


@cache
def functions_of(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def code_in(page: Path) -> str:
    """Everything between backticks, and every indented line."""
    text = page.read_text()
    return "\n".join([*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^ {4}(.+)$", text, re.MULTILINE)])


def test_tables_say_what_the_code_says() -> None:
    assert README.read_text() == rewritten(README.read_text()), "run `make readme`"


def test_a_readme_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table of settings"):
        rewritten("# els_stream")


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(["a", "b"], [["x|y", "z"]]).splitlines()[-1] == "| x\\|y | z |"


def test_every_family_of_metrics_has_a_series_to_take_labels_from() -> None:
    assert [family.name for family in full_registry().collect() if not family.samples] == []


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_every_guarantee_names_tests_that_exist(invariant: str) -> None:
    (row,) = re.findall(rf"^\| {invariant} \|.*$", README.read_text(), re.MULTILINE)
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)

    assert named
    assert [name for path, name in named if name not in functions_of(CHECKOUT / path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_target_that_is_named_exists(page: Path) -> None:
    code = code_in(page)
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bels ([a-z]+)", code)) - ENTRIES.keys() == set()
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) - targets == set()


def test_every_target_and_command_is_told() -> None:
    targets = set(re.findall(r"^([a-z-]+):.* ## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    code = code_in(README)

    assert targets - set(re.findall(r"\bmake ([a-z-]+)", code)) == set()
    assert ENTRIES.keys() - set(re.findall(r"\bels ([a-z]+)", code)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_path_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    headings = {
        re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)]+)\)", text)
    paths = re.findall(r"`((?:els_stream|agents|tables|migrations|tests|docs)/[\w./-]*)`", text)

    assert [link for link in links if link.startswith("#") and link[1:] not in headings] == []
    assert [link for link in links if not link.startswith("#") and not (page.parent / link).exists()] == []
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []


@pytest.mark.parametrize("codes", [Code, DeadLetterReason], ids=["not ready", "dead letters"])
def test_the_runbook_knows_every_code(codes: type[Code | DeadLetterReason]) -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", RUNBOOK.read_text(), re.MULTILINE))

    assert {code.value for code in codes} - told == set()


def test_the_runbook_knows_no_code_that_is_gone() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", RUNBOOK.read_text(), re.MULTILINE))

    assert told - {code.value for code in Code} - {reason.value for reason in DeadLetterReason} == set()
