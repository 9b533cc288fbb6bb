from __future__ import annotations

import io

from rich.console import Console

from els_stream.demo.console import DemoConsole
from els_stream.demo.driver import Counts
from els_stream.demo.observations import Observations
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenarios import SCENARIOS
from els_stream.demo.traffic import make_traffic
from els_stream.events import topics
from tests.support.reference_service import outputs

TRAFFIC = make_traffic(seed=3, batches=len(SCENARIOS), largest=9)


def demo_console(*, terminal: bool) -> tuple[DemoConsole, io.StringIO]:
    shown = io.StringIO()
    return DemoConsole(Console(file=shown, width=80, force_terminal=terminal, color_system=None)), shown


def test_tables_show_which_topics_are_right_and_which_are_wrong() -> None:
    observations = Observations()
    for record in outputs(TRAFFIC, RandomSource(3)):
        if record.topic != topics.ESSAYS_READY:
            observations.add(record)
    plain, shown = demo_console(terminal=False)
    plain.tables(TRAFFIC, observations)

    check_marks = {line.split()[0]: line.split()[-1] for line in shown.getvalue().splitlines() if "huleedu" in line}
    assert check_marks.pop(topics.ESSAYS_READY) == "✗"
    assert set(check_marks.values()) == {"✓"}


def test_tables_fit_a_terminal_of_80_columns() -> None:
    plain, shown = demo_console(terminal=False)
    plain.tables(TRAFFIC, Observations())

    assert "…" not in shown.getvalue()
    assert all(scenario.title in shown.getvalue() for scenario in SCENARIOS)


def test_a_terminal_gets_bars() -> None:
    live, shown = demo_console(terminal=True)
    with live.progress([TRAFFIC]) as show:
        show(Counts(sent=7, handled=5, published=3))

    assert f"7/{len(TRAFFIC.messages)}" in shown.getvalue()


def test_brackets_in_a_line_are_no_markup() -> None:
    plain, shown = demo_console(terminal=False)
    plain.print_line("difference: [bold]b'[[['[/]")

    assert shown.getvalue() == "difference: [bold]b'[[['[/]\n"
