"""Reads the CPU time of process trees, including children that have ended."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from els_stream.embedded.processes import PROC, children

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Clock:
    """CPU time of each tree in seconds since its start, by name."""

    seconds: Mapping[str, float]

    def since(self, before: Clock) -> dict[str, float]:
        return {name: now - before.seconds[name] for name, now in self.seconds.items()}


def read_clock(trees: Mapping[str, Iterable[int]]) -> Clock:
    """Read the CPU times; `trees` has the root processes of each name."""
    return Clock({name: sum(map(_of_tree, roots)) for name, roots in trees.items()})


def stolen() -> float:
    """Return the CPU seconds that the host has not given to the cores of this machine since it was started.

    It is what proc(5) calls "steal".
    """
    return int((PROC / "stat").read_text().split(maxsplit=9)[8]) / TICKS


def _of_tree(root: int) -> float:
    return sum(map(_of_process, _tree(root)))


def _tree(root: int) -> Iterator[int]:
    yield root
    for child in children(root):
        yield from _tree(child.pid)


def _of_process(pid: int) -> float:
    """Return user and system time, with that of reaped children; 0 if the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS
    return 0.0
