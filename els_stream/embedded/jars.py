"""Kafka's jars: resolved once by jgo, checked against our hashes, kept for starts without a network.

A broker is started from exactly the files that the list beside this module names, and each start checks them again.
"""

from __future__ import annotations

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
# Kafka ships no binding for its logging as a dependency; without one a failing start says nothing. Resolved apart from
# Kafka: together, the versions that one of them manages would win over the other's.
COORDINATES = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5")
HASHES = Path(__file__).with_name(f"kafka-{VERSION}.json")
REMEDY = "remove that folder to fetch it again"


def default_store() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "els_stream" / f"kafka-{VERSION}"


def kafka_jars(store: Path, hashes: Path = HASHES) -> list[Path]:
    """Blocks: seconds when the store is whole, longer when the jars are fetched. Refuses what has another hash."""
    expected: dict[str, str] = json.loads(hashes.read_text())
    if not store.is_dir():
        _fill(store, expected)
    return _checked(store, expected)


def _fill(store: Path, expected: dict[str, str]) -> None:
    """Appears whole or not at all, whoever else fills it at the same time."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        draft = Path(folder) / "draft"
        draft.mkdir()
        for jar in _resolved():
            if jar.name in expected:
                shutil.copyfile(jar, draft / jar.name)
        _checked(draft, expected)
        if not store.is_dir():
            draft.rename(store)


def _resolved() -> Iterator[Path]:
    try:
        jgo = importlib.import_module("jgo")
    except ImportError as missing:
        raise ServersUnavailable("Kafka's jars can't be fetched: pip install jgo") from missing
    try:
        for coordinates in COORDINATES:
            yield from Path(jgo.build(coordinates).path).rglob("*.jar")
    except Exception as error:  # jgo raises what its parts raise, from sockets to XML
        raise ServersUnavailable(f"Kafka's jars could not be fetched: {error}") from error


def _checked(folder: Path, expected: dict[str, str]) -> list[Path]:
    for name, digest in expected.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError as missing:
            raise ServersUnavailable(f"{name} is missing in {folder}: {REMEDY}") from missing
        if found != digest:
            raise ServersUnavailable(f"{name} in {folder} is not the file we know: {REMEDY}")
    return [folder / name for name in expected]
