"""The tables in docs/ that are made from the code. `make docs` writes them; a test fails when one is out of date."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from prometheus_client import CollectorRegistry, Metric

from els_stream.cli import ENTRIES, main
from els_stream.commands.asyncapi_document import document
from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.consumer.reporting import BatchTimings
from els_stream.consumer.retry_policy import MICRO_BATCH, SINGLE_RECORD, Action
from els_stream.db.engine import PoolUsage
from els_stream.db.errors import FailureClass
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.topics import BATCH_REGISTERED, INPUT_TOPICS
from els_stream.handlers.recount import RepairKind
from els_stream.kafka.offsets import PartitionLag
from els_stream.kafka.topics import MIB, TOPICS
from els_stream.observability.metrics import Metrics
from els_stream.queries.stats import CLASS_TYPES, PENDING_KINDS, PurgeStats, Stats
from els_stream.relay import RelayStatus
from tests.support import grafana

README: Final = CHECKOUT / "README.md"
DOCS: Final = CHECKOUT / "docs"
PERFORMANCE: Final = DOCS / "performance.md"
ASYNCAPI: Final = DOCS / "asyncapi.json"
PROMETHEUS_RULE: Final = CHECKOUT / "deploy" / "kubernetes" / "monitoring" / "prometheus-rule.yaml"
GOLDEN: Final = CHECKOUT / "els_stream" / "events" / "examples"
# Labels that the exposition format adds to a histogram by itself.
FORMAT_LABELS: Final = {"le"}
INPUT_EXAMPLES: Final = (
    "batch_essays_registered",
    "essay_content_provisioned",
    "essay_validation_failed",
    "student_associations_confirmed",
)
OUTPUT_EXAMPLES: Final = (
    "essay_slot_assigned",
    "excess_content_provisioned",
    "batch_validation_errors",
    "batch_content_provisioning_completed",
    "batch_essays_ready",
    "batch_readiness_timeout",
)


ACTIONS: Final[dict[Action, str]] = {
    Action.RETRY: "retry at once",
    Action.BACK_OFF: "retry after a backoff",
    Action.SPLIT: "split in halves",
    Action.SPLIT_BY_PARTITION: "each partition alone",
    Action.ISOLATE: "record by record",
    Action.PAUSE_PARTITION: "pause the partition",
    Action.DEAD_LETTER_IF_OTHERS_PASS: (
        "a dead letter if it fails between two passes of another record, else pause the partition"
    ),
    Action.DEAD_LETTER: "a dead letter",
}


@dataclass(frozen=True, slots=True)
class Generated:
    """A block of one page, between two comments that name it."""

    page: Path
    make: Callable[[], str]


def settings() -> str:
    return table(
        ("variable", "meaning", "default", "takes"),
        ((f"`{row.variable}`", row.meaning, row.default and f"`{row.default}`", row.allowed) for row in rows(Settings)),
    )


def metrics() -> str:
    families = sorted(full_registry().collect(), key=lambda family: family.name)
    return table(("metric", "labels", "meaning"), (_metric(family) for family in families))


def commands() -> str:
    return table(("command", ""), ((f"`els {name}`", entry.help) for name, entry in ENTRIES.items()))


def topics() -> str:
    return table(
        ("topic", "", "kept", "largest record"),
        (
            (
                f"`{plan.topic}`",
                "in" if plan.topic in INPUT_TOPICS else "out",
                f"{plan.retention_days} days",
                f"{plan.max_bytes // 1024} KiB" if plan.max_bytes % MIB else f"{plan.max_bytes // MIB} MiB",
            )
            for plan in TOPICS
        ),
    )


def policy() -> str:
    return table(
        ("class", "a micro-batch", "a single record"),
        (
            (f"`{failure_class}`", _actions(MICRO_BATCH[failure_class]), _actions(SINGLE_RECORD[failure_class]))
            for failure_class in FailureClass
        ),
    )


def options() -> str:
    """Return a section for each command: its arguments, options and exit codes."""
    with click.Context(main) as context:
        found = [(name, main.get_command(context, name)) for name in ENTRIES]
        return "\n\n".join(_command(f"els {name}", command) for name, command in found if command is not None)


def input_examples() -> str:
    return "\n\n".join(map(_example, INPUT_EXAMPLES))


def output_examples() -> str:
    return "\n\n".join(map(_example, OUTPUT_EXAMPLES))


BLOCKS: Final[dict[str, Generated]] = {
    "settings": Generated(DOCS / "settings.md", settings),
    "metrics": Generated(DOCS / "metrics.md", metrics),
    "commands": Generated(DOCS / "cli.md", commands),
    "options": Generated(DOCS / "cli.md", options),
    "policy": Generated(DOCS / "failure-handling.md", policy),
    "topics": Generated(DOCS / "events.md", topics),
    "input examples": Generated(DOCS / "events.md", input_examples),
    "output examples": Generated(DOCS / "events.md", output_examples),
}


def asyncapi() -> str:
    """Return the AsyncAPI document of topics without a prefix, as `els asyncapi` prints it."""
    return json.dumps(document(), ensure_ascii=False, indent=2) + "\n"


def prometheus_rule() -> str:
    """Return the alert rules as a resource of the Prometheus operator."""
    rules = (CHECKOUT / "deploy" / "monitoring" / "alerts.yml").read_text()
    spec = "".join(f"  {line}" if line.strip() else line for line in rules.splitlines(keepends=True) if line[0] != "#")
    head = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: els\nspec:\n"
    return f"# Written by `make docs` from deploy/monitoring/alerts.yml.\n{head}{spec}"


def rewritten(page: Path, text: str) -> str:
    """Return the text with every generated block of this page made anew.

    Raises ValueError if the text has no place for one of them.
    """
    for name, block in BLOCKS.items():
        if block.page == page:
            text = replace_block(text, name, "make docs", block.make())
    return text


def replace_block(text: str, name: str, target: str, block: str) -> str:
    begin, end = f"<!-- {name}: written by `{target}` -->", f"<!-- end of {name} -->"
    found = re.search(f"{re.escape(begin)}\n.*?{re.escape(end)}", text, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no place for {name}")
    return text.replace(found[0], f"{begin}\n{block}\n{end}")


def table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    titles = list(headings)
    cells = [titles, ["---"] * len(titles), *([_cell(text) for text in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def full_registry() -> CollectorRegistry:
    """Every family with a series, as of a worker that has seen everything once."""
    registry = CollectorRegistry()
    worker = Metrics(registry, {"register_batch": BATCH_REGISTERED})
    worker.record_batch("register_batch", {"registered": 1}, records=1, timings=BatchTimings(0.01, 0.01, 0.0))
    worker.add_pool("worker", lambda: PoolUsage(10, 1, 1, 0))
    worker.add_health(tuple)
    worker.add_lag(lambda: [PartitionLag(BATCH_REGISTERED, 0, 0)])
    worker.add_relay(lambda: RelayStatus(0, 1, 0, acked=0, rejected=0, errors={}))
    worker.add_repairs(lambda: dict.fromkeys(RepairKind, 0))
    worker.add_spans(lambda: 0)
    worker.add_log_lines(lambda: 0)
    worker.add_stats(
        lambda: (
            Stats(
                active=dict.fromkeys(CLASS_TYPES, 0),
                completed=dict.fromkeys(CLASS_TYPES, 0),
                purged=dict.fromkeys(CLASS_TYPES, 0),
                dead_letters=dict.fromkeys(DeadLetterReason, 0),
                pending=dict.fromkeys(PENDING_KINDS, 0),
                pending_oldest_seconds=0,
                outbox_rows=0,
                outbox_deferred=0,
                outbox_oldest_seconds=0,
                purge=PurgeStats(running=False, batches=0, started_at=0, finished=True),
            ),
            0.0,
        )
    )
    return registry


def _metric(family: Metric) -> Iterator[str]:
    labels = {label: None for sample in family.samples for label in sample.labels if label not in FORMAT_LABELS}
    yield f"`{family.name}{'_total' if family.type == 'counter' else ''}`"
    yield ", ".join(f"`{label}`" for label in labels)
    yield family.documentation


def _command(name: str, command: click.Command) -> str:
    if isinstance(command, click.Group):
        parts = [_described(name, command)]
        parts += [_command(f"{name} {sub}", child) for sub, child in command.commands.items()]
        return "\n\n".join(parts)
    return _described(name, command)


def _described(name: str, command: click.Command) -> str:
    arguments = [f" {_argument(p)}" for p in command.params if isinstance(p, click.Argument)]
    shown = [p for p in command.params if isinstance(p, click.Option)]
    parts = [f"### `{name}{''.join(arguments)}`", _paragraphs(command.help)]
    if shown:
        parts.append(table(("option", "meaning"), ((f"`{_option(p)}`", _meaning(p)) for p in shown)))
    parts.append(_paragraphs(command.epilog))
    return "\n\n".join(part for part in parts if part)


def _actions(actions: Iterable[Action]) -> str:
    return ", then ".join(ACTIONS[action] for action in actions)


def _argument(argument: click.Argument) -> str:
    name = argument.human_readable_name
    if isinstance(argument.type, click.Choice):
        name = "|".join(map(str, argument.type.choices))
    return f"{name}..." if argument.nargs == -1 else name


def _option(option: click.Option) -> str:
    long = max(option.opts, key=len)
    if option.is_flag:
        return long
    if isinstance(option.type, click.Choice):
        return f"{long} {'|'.join(map(str, option.type.choices))}"
    return f"{long} {option.metavar or option.type.name.split()[0].upper()}"


def _meaning(option: click.Option) -> str:
    return f"{option.help or ''} Default: `{option.default}`.".strip() if option.show_default else option.help or ""


def _paragraphs(text: str | None) -> str:
    """Each paragraph on a line of its own; an example as code."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text or "") if part.strip()]
    return "\n\n".join(re.sub(r"Example: (.+)$", r"Example: `\1`", part) for part in paragraphs)


def _example(name: str) -> str:
    event = json.loads((GOLDEN / f"{name}.json").read_text())
    return f"**`{event['event_type']}`**\n\n```json\n{json.dumps(event, ensure_ascii=False, indent=2)}\n```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write() -> None:
    for page in {block.page for block in BLOCKS.values()}:
        page.write_text(rewritten(page, page.read_text()))
    ASYNCAPI.write_text(asyncapi())
    grafana.DASHBOARD.write_text(grafana.dashboard())
    PROMETHEUS_RULE.write_text(prometheus_rule())


if __name__ == "__main__":
    write()
