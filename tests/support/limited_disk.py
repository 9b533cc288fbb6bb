"""A file system of a limited size for the data of one server, which can be filled and freed (Linux, as root)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BALLAST: Final = "ballast"
CHUNK: Final = bytes(2**16)


class LimitedDisk:
    """A tmpfs mounted at `folder`, named after the server whose data it has."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._folder = folder

    @contextlib.contextmanager
    def mounted(self, mebibytes: int) -> Iterator[LimitedDisk]:
        """Mount it for the block. Raises CalledProcessError without the right to mount."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(self._folder))
        try:
            yield self
        finally:
            _run("umount", "--lazy", str(self._folder))

    def fill(self) -> None:
        """Write until no byte is left."""
        descriptor = os.open(self._folder / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            size = len(CHUNK)
            while size:
                try:
                    os.write(descriptor, CHUNK[:size])
                except OSError:
                    size //= 2
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Remove what `fill` wrote."""
        (self._folder / BALLAST).unlink(missing_ok=True)


def _run(program: str, *arguments: str) -> None:
    subprocess.run([shutil.which(program) or program, *arguments], check=True)
