"""Folders for servers that tests start."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """Not below pytest's own, where the account that PostgreSQL has when we are root can't go."""
    folder = Path(tempfile.mkdtemp(prefix="els-tests-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
