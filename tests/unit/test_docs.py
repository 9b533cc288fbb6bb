"""README.md and the pages in docs/ agree with the code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from els_stream.cli import ENTRIES, main
from els_stream.config.renamed_settings import RENAMED
from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.consumer.reporting import ConsumerEvent
from els_stream.db.errors import FailureClass
from els_stream.events import decoder, topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.event_ids import event_id
from els_stream.events.inbound import Envelope
from els_stream.observability.health import Code
from tests.support.generated_docs import BLOCKS, DOCS, GOLDEN, README, full_registry, rewritten, table

ARCHITECTURE = DOCS / "architecture.md"
CHANGELOG = CHECKOUT / "CHANGELOG.md"
CONTRIBUTING = CHECKOUT / "CONTRIBUTING.md"
EVENTS = DOCS / "events.md"
FAILURES = DOCS / "failure-handling.md"
RUNBOOK = DOCS / "runbook.md"
PAGES = [README, CONTRIBUTING, CHANGELOG, CHECKOUT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]
INVARIANTS = [f"I{number}" for number in range(1, 9)]
README_BYTES = 8192
# Stands in an example for the fields that it leaves out; they are taken from the golden file.
ELLIPSIS = "…"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\bels ([a-z][^`;&|#>\n]*)")
METRIC = re.compile(r"`((?:els_(?!stream\b)|huleedu_batches_|batches_purged_)[a-z_]+)`")
# Names that begin like a metric and are none: the NOTIFY channel, a table.
NO_METRICS = {"els_outbox", "els_schema_version"}

DECODERS: Mapping[str, Callable[[bytes | None], Envelope[Any]]] = {
    topics.BATCH_REGISTERED: decoder.decode_registration,
    topics.CONTENT_PROVISIONED: decoder.decode_content,
    topics.VALIDATION_FAILED: decoder.decode_failure,
    topics.ASSOCIATIONS_CONFIRMED: decoder.decode_associations,
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def functions_of(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def text_of(page: Path) -> str:
    """Return the page; of the changes without the old names, which stand first in rows of its tables."""
    text = page.read_text()
    return re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE) if page == CHANGELOG else text


def code_in(page: Path) -> str:
    """Return everything between backticks, every indented line and every block of commands."""
    text = text_of(page)
    blocks = [body for language, body in FENCE.findall(text) if language not in {"json", "mermaid", "text"}]
    prose = FENCE.sub("", text)
    return "\n".join([*re.findall(r"`([^`\n]+)`", prose), *re.findall(r"^ {4}(.+)$", prose, re.MULTILINE), *blocks])


def anchors(page: Path) -> set[str]:
    prose = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def first_cells(page: Path) -> set[str]:
    """Return the codes that stand alone in the first cell of a row that is written by hand."""
    by_hand = re.sub(r"^<!-- .*?: written by .*?^<!-- end of", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^\| `([a-z_]+)` \|", by_hand, re.MULTILINE))


def first_column(page: Path) -> list[str]:
    return re.findall(r"^\|([^|]*)\|", page.read_text(), re.MULTILINE)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS.values()}), ids=lambda page: page.name)
def test_generated_tables_and_examples_are_current(page: Path) -> None:
    assert page.read_text() == rewritten(page, page.read_text()), "run `make docs`"


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for settings"):
        rewritten(DOCS / "settings.md", "# Settings")


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(["a", "b"], [["x|y", "z"]]).splitlines()[-1] == "| x\\|y | z |"


def test_every_metric_family_has_a_series_with_its_labels() -> None:
    assert [family.name for family in full_registry().collect() if not family.samples] == []


def test_readme_is_short() -> None:
    assert len(README.read_bytes()) <= README_BYTES


def test_readme_links_every_page() -> None:
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README.read_text())}

    assert {str(page.relative_to(CHECKOUT)) for page in PAGES} - {README.name} - linked == set()


@each_page
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            broken.append(link)

    assert broken == []


@each_page
def test_every_path_that_is_named_exists(page: Path) -> None:
    top = r"(?:els_stream|agents|tables|migrations|tests|docs|stubs|\.ci)/[\w./*-]*|[\w-]+\.(?:toml|md|yml)"
    paths = re.findall(rf"`({top})`", text_of(page))

    assert [path for path in paths if not (CHECKOUT / path).exists()] == []


@each_page
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    wrong = [found for found in COMMAND.findall(code_in(page)) if not _is_a_command(found.split())]

    assert wrong == []


def _is_a_command(words: list[str]) -> bool:
    with click.Context(main) as context:
        command = main.get_command(context, words[0])
        if isinstance(command, click.Group) and len(words) > 1:
            command = command.commands.get(words[1])
    if command is None:
        return False
    known = {name for param in command.params for name in param.opts} | {"--help"}
    return {word.partition("=")[0] for word in words if word.startswith("-")} <= known


@each_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"\bmake ([a-z-]+)", code_in(page))) - targets() == set()


@each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"\b(?:ELS_[A-Z_]*[A-Z]\b(?!_)|USE_[A-Z_]+)", text_of(page)))
    known = {row.variable for row in rows(Settings)}

    assert {name for name in named - known if not name.startswith("ELS_FAUST")} == set()


@each_page
def test_every_metric_that_is_named_exists(page: Path) -> None:
    families = {f"{f.name}{'_total' if f.type == 'counter' else ''}" for f in full_registry().collect()}

    assert set(METRIC.findall(text_of(page))) - families - NO_METRICS == set()


def test_the_changes_list_every_renamed_setting() -> None:
    listed = dict(re.findall(r"^\| `(ELS_\w+)` \| `(ELS_\w+)` \|$", CHANGELOG.read_text(), re.MULTILINE))

    assert listed == RENAMED


def test_every_make_target_is_described() -> None:
    described = set(re.findall(r"^([a-z-]+):.* ## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))

    assert described - set(re.findall(r"\bmake ([a-z-]+)", code_in(CONTRIBUTING))) == set()


def test_every_command_is_described() -> None:
    assert ENTRIES.keys() - set(re.findall(r"### `els ([a-z]+)", (DOCS / "cli.md").read_text())) == set()


def test_architecture_names_every_agent() -> None:
    text = ARCHITECTURE.read_text()
    agents = {f"agents/{path.name}" for path in (CHECKOUT / "agents").glob("[a-z]*.py")}

    assert [agent for agent in sorted(agents) if f"`{agent}`" not in text] == []


def test_architecture_names_every_package_and_loose_module() -> None:
    text = ARCHITECTURE.read_text()
    service = CHECKOUT / "els_stream"
    packages = {f"els_stream/{path.parent.name}/" for path in service.glob("*/__init__.py")}
    modules = {f"els_stream/{path.name}" for path in service.glob("*.py")} - {"els_stream/__init__.py"}

    assert [place for place in sorted(packages | modules) if f"`{place}`" not in text] == []


def test_glossary_defines_each_word_once() -> None:
    words = [word for row in first_column(DOCS / "glossary.md") for word in re.findall(r"\*\*([^*]+)\*\*", row)]

    assert words
    assert sorted(words) == sorted(set(words))


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_every_guarantee_names_tests_that_exist(invariant: str) -> None:
    (row,) = re.findall(rf"^\| {invariant} \|.*$", (DOCS / "guarantees.md").read_text(), re.MULTILINE)
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)

    assert named
    assert [name for path, name in named if name not in functions_of(CHECKOUT / path)] == []


def test_runbook_has_every_readiness_code_and_dead_letter_reason_and_no_other() -> None:
    assert first_cells(RUNBOOK) == {code.value for code in Code} | {reason.value for reason in DeadLetterReason}


def test_failure_handling_has_every_class_and_consumer_event_and_no_other() -> None:
    assert first_cells(FAILURES) == {c.value for c in FailureClass} | {event.value for event in ConsumerEvent}


def test_event_ids_of_the_test_vectors_are_right() -> None:
    row = re.compile(r"^\| `(huleedu[^`]+)` \| `([^`]+)` \|(?: `([^`]+)`)? +\| `([0-9a-f-]{36})` \|$", re.MULTILINE)
    vectors = row.findall(EVENTS.read_text())

    assert len(vectors) == 3
    for topic, batch_id, subject, identity in vectors:
        assert str(event_id(topic, batch_id.replace("\\|", "|"), subject)) == identity


def examples(page: Path) -> list[dict[str, object]]:
    return [json.loads(body) for language, body in FENCE.findall(page.read_text()) if language == "json"]


@cache
def golden() -> dict[str, dict[str, object]]:
    events = [json.loads(path.read_text()) for path in GOLDEN.glob("*.json")]
    return {event["event_type"]: event for event in events if "event_type" in event}


def test_the_readme_has_a_producer_and_a_consumer_of_ten_lines() -> None:
    """`tests/kafka/events/test_documented_clients.py` runs them."""
    programs = [body for language, body in FENCE.findall(README.read_text()) if language == "python"]

    assert [sum(1 for line in body.splitlines() if line) <= 10 for body in programs] == [True, True]


def test_examples_show_every_event() -> None:
    assert {example["event_type"] for example in examples(EVENTS)} == {*topics.INPUT_TOPICS, *topics.OUTPUT_TOPICS}
    assert [example["event_type"] for example in examples(README)] == [
        topics.CONTENT_PROVISIONED,
        topics.SLOT_ASSIGNED,
    ]


@pytest.mark.parametrize("page", [README, EVENTS], ids=lambda page: page.name)
def test_examples_are_the_golden_events(page: Path) -> None:
    for example in examples(page):
        whole = golden()[str(example["event_type"])]
        assert completed(example, whole) == whole


@pytest.mark.parametrize("page", [README, EVENTS], ids=lambda page: page.name)
def test_input_examples_are_accepted(page: Path) -> None:
    inputs = [(str(event["event_type"]), event) for event in examples(page)]
    inputs = [(topic, event) for topic, event in inputs if topic in topics.INPUT_TOPICS]

    assert inputs
    for topic, event in inputs:
        value = json.dumps(completed(event, golden()[topic])).encode()
        assert DECODERS[topic](value).event_type == topic


def completed(example: object, whole: object) -> object:
    """Return the example with the fields that it leaves out, where it says so."""
    if isinstance(example, dict) and isinstance(whole, dict):
        left_out = whole if ELLIPSIS in example else {}
        shown = {name: completed(part, whole.get(name)) for name, part in example.items() if name != ELLIPSIS}
        return {**left_out, **shown}
    if isinstance(example, list) and isinstance(whole, list):
        return [completed(part, other) for part, other in zip(example, whole, strict=True)]
    return example
