"""The output of the demo: each step with its duration, progress bars or lines, and two tables."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from els_stream.demo.expectations import CountRange, exactly
from els_stream.events import topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.demo.driver import Counts, ShowProgress
    from els_stream.demo.expectations import Expectation, Traffic
    from els_stream.demo.observations import Observations, ObservedBatch

LINE_INTERVAL_SECONDS: Final = 2.0
# A pipe has no width; in less than this the tables would wrap.
PLAIN_WIDTH: Final = 100


class DemoConsole:
    """Writes to a terminal, or to a pipe in lines of PLAIN_WIDTH without progress bars."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if console is None and not self.console.is_terminal:
            self.console = Console(highlight=False, width=PLAIN_WIDTH)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Print the name and the duration of the block after it."""
        started = time.monotonic()
        yield
        self.print_line(f"{name:<52} {time.monotonic() - started:5.1f} s")

    def print_line(self, line: str) -> None:
        self.console.print(escape(line), soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, traffics: Sequence[Traffic]) -> Iterator[ShowProgress]:
        """Yield a function that shows the counts: as bars, or in a pipe as a line every LINE_INTERVAL_SECONDS."""
        records = sum(len(traffic.messages) for traffic in traffics)
        if not self.console.is_terminal:
            yield self._lines(records)
            return
        columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bars:
            sent = bars.add_task("records sent", total=records)
            handled = bars.add_task("records handled", total=records)
            published = bars.add_task("events published", total=sum(expected_events(one).high for one in traffics))

            def show(counts: Counts) -> None:
                bars.update(sent, completed=counts.sent)
                bars.update(handled, completed=counts.handled)
                bars.update(published, completed=counts.published)

            yield show

    def _lines(self, records: int) -> ShowProgress:
        last = time.monotonic()

        def show(counts: Counts) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_INTERVAL_SECONDS:
                last = time.monotonic()
                self.print_line(
                    f"  {counts.sent} of {records} sent, {counts.handled} handled, {counts.published} events published"
                )

        return show

    def tables(self, traffic: Traffic, observations: Observations) -> None:
        for table in (topic_table(traffic, observations), scenario_table(traffic, observations.batches()[0])):
            self.console.print()
            self.console.print(table)
        self.console.print()


def expected_events(traffic: Traffic) -> CountRange:
    """Return how many different events all topics must contain."""
    return sum((traffic.events(topic) for topic in (*topics.OUTPUT_TOPICS, topics.DEAD_LETTER)), exactly(0))


def topic_table(traffic: Traffic, observations: Observations) -> Table:
    """Return the expected and found numbers of events by topic."""
    table = _table("Events in the output topics", "topic", "expected", "found", "copies", "")
    copies = observations.copies
    for topic in (*topics.OUTPUT_TOPICS, topics.DEAD_LETTER):
        expected, found = traffic.events(topic), observations.counts[topic]
        table.add_row(topic, str(expected), str(found), str(copies[topic]), _check_mark(right=found in expected))
    return table


def scenario_table(traffic: Traffic, batches: dict[str, ObservedBatch]) -> Table:
    """Return the numbers of batches, slots and events by scenario."""
    by_scenario: defaultdict[str, list[Expectation]] = defaultdict(list)
    for expectation in traffic.expectations:
        by_scenario[expectation.scenario].append(expectation)
    table = _table("Batches by scenario", "", "sets", "slots", "texts", "given", "excess", "full", "ready")
    for scenario, expectations in by_scenario.items():
        found = [batches[expectation.batch_id] for expectation in expectations if expectation.batch_id in batches]
        table.add_row(
            escape(scenario),
            str(len(expectations)),
            str(sum(expectation.slots for expectation in expectations)),
            str(sum(len(expectation.contents) for expectation in expectations)),
            *_sums(found),
        )
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    """Return an empty table that fits a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.pad_edge = table.show_edge = False
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _sums(batches: Sequence[ObservedBatch]) -> Iterator[str]:
    yield str(sum(len(batch.assigned) for batch in batches))
    yield str(sum(len(batch.excess) for batch in batches))
    yield str(sum(len(batch.completed) for batch in batches))
    yield str(sum(len(batch.ready) for batch in batches))


def _check_mark(*, right: bool) -> str:
    return "[green]✓[/]" if right else "[bold red]✗[/]"
