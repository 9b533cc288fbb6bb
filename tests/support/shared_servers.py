"""The servers that the tests of one process share: embedded ones, or containers with ELS_SERVERS=containers.

With containers, a test that kills or pauses servers, or that reads or changes their files, still has embedded ones, and
so have tests that start servers of their own, with other settings or versions. All other tests have containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pytest

from els_stream.config.settings import Settings
from els_stream.embedded import containers
from els_stream.embedded.servers import Addresses, down, up
from els_stream.embedded.state import Kind
from els_stream.errors import ServersUnavailable

VARIABLE: Final = "ELS_SERVERS"
CONTAINERS: Final = os.environ.get(VARIABLE) == "containers"
KINDS: Final[tuple[Kind, ...]] = ("containers", "embedded")
# Fixtures of tests that kill servers or use their files.
NEED_EMBEDDED: Final = frozenset({"servers", "server_settings"})


def kind_of(fixtures: Collection[str]) -> Kind:
    """Return which servers a test with these fixtures has in a run with containers."""
    return "containers" if NEED_EMBEDDED.isdisjoint(fixtures) else "embedded"


def exit_without_engine() -> None:
    """End the run before the first test if it needs a Docker engine and none answers."""
    if not CONTAINERS or Settings().broker_url is not None:
        return
    try:
        containers.check_engine()
    except ServersUnavailable as missing:
        pytest.exit(f"{VARIABLE}=containers: {missing}", returncode=pytest.ExitCode.USAGE_ERROR)


class SharedServers:
    """Starts servers of each kind when a test first needs them; each kind has its own state folder below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def settings(self, kind: Kind) -> Settings:
        return Settings(state_dir=self._folder if kind == "embedded" else self._folder / kind, servers=kind)

    def addresses(self, kind: Kind) -> Addresses:
        return asyncio.run(up(self.settings(kind), fsync=False))

    def stop(self) -> None:
        """Stop the servers of both kinds, also those that an earlier process started here."""
        with contextlib.ExitStack() as ends:
            for kind in KINDS:
                ends.callback(lambda settings: asyncio.run(down(settings, remove_data=True)), self.settings(kind))
