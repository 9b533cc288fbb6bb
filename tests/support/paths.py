"""Folders for the servers that tests start."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """Yield a temporary folder that PostgreSQL's account can reach if we are root, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="els-tests-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
