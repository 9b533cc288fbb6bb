"""Writes log lines to a file descriptor in a thread of its own, so that a reader that stops blocks no event loop.

A pipe that no one reads is full after 64 KiB; then the write of a line does not return. Lines wait in a queue of a
limited size instead. What does not fit is dropped and counted, and the number is logged once lines can be written.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import threading
from collections import deque
from typing import Final

STDERR: Final = 2
MAX_WAITING_CHARACTERS: Final = 4 * 1024 * 1024
DRAIN_TIMEOUT_SECONDS: Final = 0.5
WRITABLE_TIMEOUT_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class LogWriter:
    """A stream for a handler of `logging`: `write` never blocks.

    The thread starts with the first line and ends with the process, which waits a moment for the last lines.
    """

    def __init__(self, descriptor: int, *, max_waiting: int = MAX_WAITING_CHARACTERS) -> None:
        """`max_waiting` limits the characters of the lines that wait."""
        self._descriptor = descriptor
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._waiting = 0
        self._writing = False
        self._dropped = self._reported = 0
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """The number of lines that were never written."""
        return self._dropped

    def write(self, line: str) -> None:
        """Queue a line; drop it if too many wait, unless it reports what was dropped."""
        with self._changed:
            if self._waiting + len(line) > self._max_waiting and threading.current_thread() is not self._thread:
                self._dropped += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()
                atexit.register(self.drain)
            self._changed.notify_all()

    def drain(self, seconds: float = DRAIN_TIMEOUT_SECONDS) -> bool:
        """Wait until everything is written, at most so long; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def _run(self) -> None:
        while True:
            lines = self._take()
            try:
                self._write_all("".join(lines).encode(errors="backslashreplace"))
            except OSError:  # the reader is gone, or the disk is full: the next lines may be written
                written = False
            else:
                written = True
            self._end_write(0 if written else len(lines))
            if written:
                self._report_dropped()

    def _take(self) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._lines)
            lines = list(self._lines)
            self._lines.clear()
            self._waiting = 0
            self._writing = True
            return lines

    def _end_write(self, dropped: int) -> None:
        with self._changed:
            self._writing = False
            self._dropped += dropped
            self._changed.notify_all()

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process made the shared pipe non-blocking
                select.select([], [self._descriptor], [], WRITABLE_TIMEOUT_SECONDS)

    def _report_dropped(self) -> None:
        with self._changed:
            dropped, self._reported = self._dropped - self._reported, self._dropped
        if dropped:
            log.warning("%d log lines were dropped, since the log was not read", dropped)


stderr: Final = LogWriter(STDERR)
