"""The progress line is shown in a terminal, and not in a pipe."""

from __future__ import annotations

import io

from rich.console import Console

from els_stream.commands.progress import progress


def test_a_terminal_shows_the_line_and_what_is_printed_meanwhile() -> None:
    screen = io.StringIO()
    with progress("counting", Console(file=screen, force_terminal=True)) as line:
        line("3 of 7 batches removed")
        with line.hidden():
            screen.write("a finding\n")

    assert line.shown
    assert "3 of 7 batches removed" in screen.getvalue()
    assert "a finding\n" in screen.getvalue()


def test_a_pipe_gets_no_progress_line() -> None:
    pipe = io.StringIO()
    with progress("counting", Console(file=pipe)) as line, line.hidden():
        line("3 of 7 batches removed")

    assert (line.shown, pipe.getvalue()) == (False, "")
