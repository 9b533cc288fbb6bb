"""No Kafka client of this project creates a topic by asking for its metadata."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from els_stream.kafka import clients

PACKAGE = Path(clients.__file__).parents[1]
METADATA = importlib.import_module("aiokafka.protocol.metadata")
CLIENTS = set(clients.__all__) | {"AIOKafkaClient"}


@pytest.mark.parametrize("version", [4, 5])
def test_a_request_for_metadata_forbids_the_creation_of_topics(version: int) -> None:
    built = METADATA.MetadataRequest(["topic"]).build(getattr(METADATA, f"MetadataRequest_v{version}"))

    assert built.allow_auto_topic_creation is False


def test_the_versions_of_the_request_are_as_read() -> None:
    """Version 4 is the first one with the field, and aiokafka takes the newest that it knows."""
    versions = [name for name in vars(METADATA) if re.fullmatch(r"MetadataRequest_v\d+", name)]

    assert versions == [f"MetadataRequest_v{number}" for number in range(6)]


@pytest.mark.parametrize("module", ["aiokafka.client", "aiokafka.admin.client"])
def test_aiokafka_builds_its_requests_with_the_default(module: str) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module))))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "MetadataRequest"
    ]

    assert calls
    assert [len(call.args) + len(call.keywords) for call in calls] == [1] * len(calls)


def test_every_client_comes_from_this_module() -> None:
    """A module that imports aiokafka's clients itself may make one before the default is changed."""
    direct = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiokafka")
        if CLIENTS & {alias.name for alias in node.names}
    }

    assert direct == {"kafka/clients.py"}
