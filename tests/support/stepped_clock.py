"""A clock for one server that can be stepped, by a small library that its processes load first.

libfaketime does not serve: it wraps `epoll_wait` and answers with the true time in the signal handlers that interrupt
it, so a PostgreSQL whose clock is set back takes timeouts for due that are not.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from els_stream.errors import ServersUnavailable
from tests.support.packaged_servers import find_compiler

SOURCE: Final = Path(__file__).with_suffix(".c")
# The only content of the clock's file: a C int64_t.
NANOSECONDS: Final = struct.Struct("=q")


class SteppedClock:
    """The wall clock of processes that have `environment`; monotonic clocks stay as they are.

    `folder` gets the library and the difference from the true time; the server's account must be able to read it.
    """

    def __init__(self, folder: Path) -> None:
        """Build the library; raise ServersUnavailable without a C compiler."""
        compiler = find_compiler()
        if compiler is None:
            raise ServersUnavailable("clock steps need a C compiler: `apt-get install gcc`, or --clock-steps 0")
        folder.mkdir(exist_ok=True)
        library, self._file = folder / "clock.so", folder / "ahead"
        draft = library.with_suffix(".new")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", draft, SOURCE, "-ldl"], check=True)
        shutil.move(draft, library)
        self._file.write_bytes(NANOSECONDS.pack(0))
        for path in (folder, library, self._file):
            path.chmod(0o755)
        self.environment: Mapping[str, str] = MappingProxyType(
            {"LD_PRELOAD": str(library), "STEPPED_CLOCK_FILE": str(self._file)}
        )

    def set(self, seconds: float) -> None:
        """Step the clock of all processes at once, to the true time and so many seconds more."""
        with self._file.open("r+b") as file:
            file.write(NANOSECONDS.pack(round(seconds * 1e9)))
