"""What a person sees: each step with its time, live bars in a terminal or plain lines elsewhere, and two tables."""

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

from els_stream.demo.expectations import Between, exactly
from els_stream.events import topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.demo.driver import Counts, Show
    from els_stream.demo.expectations import Expectation, Traffic
    from els_stream.demo.observations import Observations, ObservedBatch

LINE_SECONDS: Final = 2.0
# A pipe tells no width; narrower than this the tables would fold.
PLAIN_WIDTH: Final = 100


class DemoConsole:
    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if console is None and not self.console.is_terminal:
            self.console = Console(highlight=False, width=PLAIN_WIDTH)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.say(f"{what:<52} {time.monotonic() - started:5.1f} s")

    def say(self, line: str) -> None:
        self.console.print(escape(line), soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, traffic: Traffic) -> Iterator[Show]:
        if not self.console.is_terminal:
            yield self._lines(traffic)
            return
        columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bars:
            sent = bars.add_task("records sent", total=len(traffic.messages))
            handled = bars.add_task("records handled", total=len(traffic.messages))
            told = bars.add_task("events told", total=due(traffic).high)

            def show(counts: Counts) -> None:
                bars.update(sent, completed=counts.sent)
                bars.update(handled, completed=counts.handled)
                bars.update(told, completed=counts.told)

            yield show

    def _lines(self, traffic: Traffic) -> Show:
        last = time.monotonic()

        def show(counts: Counts) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                total = len(traffic.messages)
                self.say(f"  {counts.sent} of {total} sent, {counts.handled} handled, {counts.told} events told")

        return show

    def tables(self, traffic: Traffic, transcript: Observations) -> None:
        for table in (by_topic(traffic, transcript), by_story(traffic, transcript.tales()[0])):
            self.console.print()
            self.console.print(table)
        self.console.print()


def due(traffic: Traffic) -> Between:
    return sum((traffic.told(topic) for topic in (*topics.OUTPUT_TOPICS, topics.DEAD_LETTER)), exactly(0))


def by_topic(traffic: Traffic, transcript: Observations) -> Table:
    table = _table("What the output topics hold", "topic", "must come", "came", "copies", "")
    for topic in (*topics.OUTPUT_TOPICS, topics.DEAD_LETTER):
        must, came = traffic.told(topic), transcript.counts[topic]
        table.add_row(topic, str(must), str(came), str(transcript.copies[topic]), _verdict(right=came in must))
    return table


def by_story(traffic: Traffic, tales: dict[str, ObservedBatch]) -> Table:
    told: defaultdict[str, list[Expectation]] = defaultdict(list)
    for promise in traffic.promises:
        told[promise.story].append(promise)
    table = _table("What became of the class sets", "", "sets", "slots", "texts", "given", "excess", "full", "ready")
    for story, promises in told.items():
        found = [tales[promise.batch_id] for promise in promises if promise.batch_id in tales]
        table.add_row(
            escape(story),
            str(len(promises)),
            str(sum(promise.slots for promise in promises)),
            str(sum(len(promise.contents) for promise in promises)),
            *_sums(found),
        )
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    """Narrow enough for a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.pad_edge = table.show_edge = False
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _sums(tales: Sequence[ObservedBatch]) -> Iterator[str]:
    yield str(sum(len(tale.assigned) for tale in tales))
    yield str(sum(len(tale.excess) for tale in tales))
    yield str(sum(len(tale.completed) for tale in tales))
    yield str(sum(len(tale.ready) for tale in tales))


def _verdict(*, right: bool) -> str:
    return "[green]✓[/]" if right else "[bold red]✗[/]"
