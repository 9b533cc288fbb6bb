"""What moves on a terminal while something takes long, and is not there in a pipe."""

from __future__ import annotations

import io

from rich.console import Console

from els_stream.commands.progress import progress


def test_a_terminal_sees_how_far_it_is() -> None:
    seen = io.StringIO()
    with progress("looking", Console(file=seen, force_terminal=True)) as told:
        told("3 of 7 batches removed")
        with told.aside():
            seen.write("a finding\n")

    assert told.shown
    assert "3 of 7 batches removed" in seen.getvalue()
    assert "a finding\n" in seen.getvalue()


def test_a_pipe_sees_nothing() -> None:
    seen = io.StringIO()
    with progress("looking", Console(file=seen)) as told, told.aside():
        told("3 of 7 batches removed")

    assert (told.shown, seen.getvalue()) == (False, "")
