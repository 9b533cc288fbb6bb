"""Keeps libraries from flooding the log while a server is away: aiokafka logs each of its attempts, 100 a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

WINDOW_SECONDS: Final = 10.0
LINES_PER_WINDOW: Final = 5
LIMITED_LOGGERS: Final = ("aiokafka", "els_stream.consumer.fetcher", "els_stream.consumer.faust_consumer")


@dataclass
class _Window:
    began: float
    lines: int = 0
    left_out: int = 0


class RepeatLimit(logging.Filter):
    """Lets five lines of a kind through in ten seconds; the next one says in `left_out` how many were not written.

    Lines of a library are of one kind if the same statement logs them: addresses and errors differ a little. Our own
    are if they are equal, so that no partition is left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int, str], _Window] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(LIMITED_LOGGERS):
            return True
        ours = record.name.startswith("els_stream")
        now = self._clock()
        window = self._window((record.name, record.lineno, record.getMessage() if ours else ""), now)
        if window.lines >= LINES_PER_WINDOW:
            window.left_out += 1
            return False
        if window.left_out:
            record.left_out, window.left_out = window.left_out, 0
        window.lines += 1
        return True

    def _window(self, kind: tuple[str, int, str], now: float) -> _Window:
        window = self._windows.get(kind)
        if window is None:
            self._forget(now)
            window = self._windows[kind] = _Window(now)
        elif now - window.began >= WINDOW_SECONDS:
            window.began, window.lines = now, 0
        return window

    def _forget(self, now: float) -> None:
        old = [kind for kind, window in list(self._windows.items()) if now - window.began >= 2 * WINDOW_SECONDS]
        for kind in old:
            self._windows.pop(kind, None)
