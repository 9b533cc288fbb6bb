"""A clock for one server process that can be stepped, by libfaketime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from els_stream.errors import ServersUnavailable
from tests.support.packaged_servers import find_libfaketime

# How long a process may go on with the time from before a step.
READ_EVERY_SECONDS = 1


class SteppedClock:
    """The wall clock of processes that have `environment`; monotonic clocks stay as they are.

    `file` has its difference from the true time; the server's account must be able to read it.
    """

    def __init__(self, file: Path) -> None:
        """Raise ServersUnavailable without libfaketime."""
        library = find_libfaketime()
        if library is None:
            raise ServersUnavailable("clock steps need libfaketime: `apt-get install libfaketime`, or --clock-steps 0")
        self._file = file
        self.environment: Mapping[str, str] = MappingProxyType(
            {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_CACHE_DURATION": str(READ_EVERY_SECONDS),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        )
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Step the clock to the true time and so many seconds more."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+.3f}\n")
        draft.chmod(0o644)
        draft.replace(self._file)
