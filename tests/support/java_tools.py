"""Kafka's own tools: they are fetched once, beside the jars of the broker."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from els_stream.embedded.jars import VERSION, default_store, kafka_jars
from els_stream.errors import ServersUnavailable

TOOLS_HASH: Final = "4eb9a7fbfd63badfd8d1a677aa2d54b47b2b2d442ff7d68fd223972afea1954c"


@cache
def java_jars() -> Sequence[Path]:
    """Return the jars of the broker and of Kafka's tools; the latter is downloaded once."""
    tools = default_store(f"tools-{VERSION}") / f"kafka-tools-{VERSION}.jar"
    if not tools.exists():
        resolved = Path(importlib.import_module("jgo").build(f"org.apache.kafka:kafka-tools:{VERSION}").path)
        tools.parent.mkdir(parents=True, exist_ok=True)
        draft = tools.with_suffix(f".{os.getpid()}")
        shutil.copyfile(next(resolved.rglob(tools.name)), draft)
        draft.rename(tools)
    if hashlib.sha256(tools.read_bytes()).hexdigest() != TOOLS_HASH:
        raise ServersUnavailable(f"{tools} does not have the expected hash: remove it to fetch it again")
    return [*kafka_jars(default_store()), tools]
