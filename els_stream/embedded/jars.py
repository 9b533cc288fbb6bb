"""Kafka's jars: downloaded once with jgo, checked against hashes, and stored for starts without a network.

The JSON file beside this module lists the jars and their hashes. Each start checks them again.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from els_stream.errors import ServersUnavailable

VERSION = "4.4.0"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
HASHES = Path(__file__).with_name(f"kafka-{VERSION}.json")
REMEDY = "remove that folder to fetch it again"


def default_store(version: str = VERSION) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "els_stream" / f"kafka-{version}"


def kafka_jars(store: Path, hashes: Path = HASHES) -> list[Path]:
    """Return the paths of the jars; download them first if the store does not exist. Blocks.

    Of several processes one downloads and the others wait for it: jgo fails if its own cache changes meanwhile.
    `hashes` is a file `kafka-VERSION.json`. Raises ServersUnavailable if a jar is missing or has another hash.
    """
    expected: dict[str, str] = json.loads(hashes.read_text())
    if not store.is_dir():
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.with_name(f"{store.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not store.is_dir():
                _fill(store, expected, hashes.stem.removeprefix("kafka-"))
    return _checked(store, expected)


def _fill(store: Path, expected: dict[str, str], version: str) -> None:
    """Download into a temporary folder and rename it, so that the store is complete or does not exist."""
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        draft = Path(folder) / "draft"
        draft.mkdir()
        for jar in _resolved(version):
            if jar.name in expected:
                shutil.copyfile(jar, draft / jar.name)
        _checked(draft, expected)
        draft.rename(store)


def _resolved(version: str) -> Iterator[Path]:
    # Kafka does not depend on a logging binding; without one a failing start logs nothing. It is resolved separately:
    # resolved together, the dependency management of one would override versions of the other.
    try:
        jgo = importlib.import_module("jgo")
    except ImportError as missing:
        raise ServersUnavailable("Kafka's jars can't be fetched: pip install jgo") from missing
    try:
        for coordinates in (f"org.apache.kafka:kafka_2.13:{version}", LOGGING):
            yield from Path(jgo.build(coordinates).path).rglob("*.jar")
    except Exception as error:  # jgo passes on errors of its libraries, from sockets to XML
        raise ServersUnavailable(f"Kafka's jars could not be fetched: {error}") from error


def _checked(folder: Path, expected: dict[str, str]) -> list[Path]:
    for name, digest in expected.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError as missing:
            raise ServersUnavailable(f"{name} is missing in {folder}: {REMEDY}") from missing
        if found != digest:
            raise ServersUnavailable(f"{name} in {folder} does not have the expected hash: {REMEDY}")
    return [folder / name for name in expected]
