"""A progress line on stderr, shown only in a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status


class Progress:
    """The line; without a terminal it shows nothing."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    @property
    def shown(self) -> bool:
        return self._status is not None

    def __call__(self, text: str) -> None:
        """Replace the text of the line."""
        if self._status is not None:
            self._status.update(text)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the line in the block, so that other lines can be printed."""
        if self._status is None:
            yield
            return
        self._status.stop()
        yield
        self._status.start()


@contextmanager
def progress(text: str, console: Console | None = None) -> Iterator[Progress]:
    """Show a progress line in the block. By default `console` is the terminal's stderr."""
    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(None)
        return
    with console.status(text) as status:
        yield Progress(status)
