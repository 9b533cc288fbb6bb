"""A line that moves while something takes long: on a terminal only, and on stderr, so that a pipe stays clean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status


class Progress:
    def __init__(self, status: Status | None) -> None:
        self._status = status

    @property
    def shown(self) -> bool:
        return self._status is not None

    def __call__(self, what: str) -> None:
        if self._status is not None:
            self._status.update(what)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, the line is away, and lines can be printed."""
        if self._status is None:
            yield
            return
        self._status.stop()
        yield
        self._status.start()


@contextmanager
def progress(what: str, console: Console | None = None) -> Iterator[Progress]:
    """Tell it what goes on; `console` is where, in a test."""
    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(None)
        return
    with console.status(what) as status:
        yield Progress(status)
