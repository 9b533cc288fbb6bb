"""The README's tables that say what the code says. `make readme` writes them; a test refuses a README that differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Metric

from els_stream.cli import ENTRIES
from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.consumer.reporting import BatchTimings
from els_stream.db.engine import PoolUsage
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.topics import BATCH_REGISTERED, INPUT_TOPICS
from els_stream.kafka.offsets import PartitionLag
from els_stream.kafka.topics import MIB, TOPICS
from els_stream.observability.metrics import Metrics
from els_stream.queries.stats import CLASS_TYPES, PARKED_KINDS, PurgeStats, Stats
from els_stream.relay import RelayStatus

README: Final = CHECKOUT / "README.md"
# What a histogram and a counter add by themselves.
OF_THE_FORMAT: Final = {"le"}


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


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": settings,
    "metrics": metrics,
    "commands": commands,
    "topics": topics,
}


def rewritten(readme: str) -> str:
    """The text with every table as the code says it now. Raises ValueError if the place of one is missing."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: written by `make readme` -->", f"<!-- end of {name} -->"
        found = re.search(f"{re.escape(begin)}\n.*?{re.escape(end)}", readme, re.DOTALL)
        if found is None:
            raise ValueError(f"the README has no place for the table of {name}")
        readme = readme.replace(found[0], f"{begin}\n{make()}\n{end}")
    return readme


def table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    titles = list(headings)
    cells = [titles, ["---"] * len(titles), *([_cell(text) for text in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def full_registry() -> CollectorRegistry:
    """Every family with a series, as of a worker that has seen everything once."""
    registry = CollectorRegistry()
    worker = Metrics(registry, {"register_batch": BATCH_REGISTERED})
    worker.record_batch("register_batch", {"registered": 1}, records=1, timings=BatchTimings(0.01, 0.01, 0.0))
    worker.watch_pool("worker", lambda: PoolUsage(10, 1, 1, 0))
    worker.watch_lag(lambda: [PartitionLag(BATCH_REGISTERED, 0, 0)])
    worker.watch_relay(lambda: RelayStatus(0, 1, 0, acked=0, refused=0, troubles={}))
    worker.figures(
        Stats(
            active=dict.fromkeys(CLASS_TYPES, 0),
            completed=dict.fromkeys(CLASS_TYPES, 0),
            purged=dict.fromkeys(CLASS_TYPES, 0),
            dead_letters=dict.fromkeys(DeadLetterReason, 0),
            parked=dict.fromkeys(PARKED_KINDS, 0),
            parked_oldest_seconds=0,
            outbox_rows=0,
            outbox_held=0,
            outbox_oldest_seconds=0,
            purge=PurgeStats(running=False, batches=0, started_at=0, finished=True),
        )
    )
    return registry


def _metric(family: Metric) -> Iterator[str]:
    labels = {label: None for sample in family.samples for label in sample.labels if label not in OF_THE_FORMAT}
    yield f"`{family.name}{'_total' if family.type == 'counter' else ''}`"
    yield ", ".join(f"`{label}`" for label in labels)
    yield family.documentation


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text()))
