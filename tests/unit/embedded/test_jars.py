from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from els_stream.embedded.jars import HASHES, kafka_jars
from els_stream.errors import ServersUnavailable

SHEEP = b"a jar full of sheep"


@pytest.fixture
def hashes(tmp_path: Path) -> Path:
    path = tmp_path / "hashes.json"
    path.write_text(json.dumps({"sheep.jar": hashlib.sha256(SHEEP).hexdigest()}))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def test_only_jars_with_known_hashes_are_used(store: Path, hashes: Path) -> None:
    (store / "sheep.jar").write_bytes(SHEEP)
    (store / "stranger.jar").write_bytes(b"not on the list")

    assert kafka_jars(store, hashes) == [store / "sheep.jar"]


def test_a_jar_with_another_hash_is_refused(store: Path, hashes: Path) -> None:
    (store / "sheep.jar").write_bytes(b"a wolf")

    with pytest.raises(ServersUnavailable, match=r"sheep\.jar in .* does not have the expected hash"):
        kafka_jars(store, hashes)


def test_a_missing_jar_is_reported(store: Path, hashes: Path) -> None:
    with pytest.raises(ServersUnavailable, match=r"sheep\.jar is missing"):
        kafka_jars(store, hashes)


def test_the_list_names_one_version_of_each_kafka_jar() -> None:
    names = [name for name in json.loads(HASHES.read_text()) if name.startswith("kafka-")]

    assert names
    assert all(name.endswith("-4.4.0.jar") for name in names)
