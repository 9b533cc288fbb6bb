"""Processes that start together on a machine where nothing was downloaded before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from els_stream.embedded.jars import HASHES

FETCH = "from els_stream.embedded.jars import *; print(len(kafka_jars(default_store())))"


@pytest.mark.timeout(300)
def test_all_get_the_jars_of_kafka(tmp_path: Path) -> None:
    """As the processes of a first test run do, or two first workers: one downloads, the others wait for it."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    started = [
        subprocess.Popen([sys.executable, "-c", FETCH], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]

    ended = [(*process.communicate(timeout=240), process.returncode) for process in started]

    assert ended == [(f"{len(json.loads(HASHES.read_text()))}\n".encode(), b"", 0)] * 3
