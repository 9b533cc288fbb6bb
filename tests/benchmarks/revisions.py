"""Checkouts of the service with environments of their own, whose programs are run as commands.

Names inside of a revision differ from ours, so nothing of it is imported.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from els_stream.config.setting_types import CHECKOUT
from els_stream.errors import ElsError
from tests.benchmarks.report import Scale

FOLDER: Final = CHECKOUT / ".els" / "revisions"
RESULT: Final = "bench-against-round.json"
OF_MAKE: Final = frozenset({"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "REV", "ARGS"})


class RevisionFailed(ElsError):
    """A command of a revision failed."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A checkout whose environment lies in its folder `.venv`."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / ".venv" / "bin" / "python")

    @property
    def worker(self) -> Sequence[str]:
        """Return the arguments of Python for a worker; its web port follows."""
        return (self._els, "worker", "--web-port")

    @property
    def _els(self) -> str:
        # Not `-m els_stream`: that would import the package of the current directory.
        return str(self.folder / ".venv" / "bin" / "els")

    async def benchmarks(self, scale: Scale, only: Sequence[str]) -> dict[str, Any]:
        """Run benchmarks of the revision; return what it writes to its bench.json."""
        path = self.folder / ".els" / RESULT
        path.parent.mkdir(exist_ok=True)
        chosen = [argument for name in only for argument in ("--only", name)]
        await self._run(self.python, "-m", "tests.benchmarks", f"--{scale}", *chosen, "--json", str(path))
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    async def migrate(self, broker: str, database_url: str) -> None:
        """Bring the database to the revision's newest schema."""
        env = {"ELS_BROKER_URL": broker, "ELS_DATABASE_URL": database_url}  # it wants both, though it needs one
        await self._run(self.python, self._els, "migrate", env=env)

    async def _run(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:  # cancelled: it stops its servers
                process.terminate()
                await process.wait()
        if process.returncode:
            end = output.decode(errors="replace")[-2000:]
            raise RevisionFailed(f"{self.name}: {' '.join(command)} ended with {process.returncode}:\n{end}")


def this_revision() -> Revision:
    return Revision("new", CHECKOUT)


def checked_out(revision: str) -> Revision:
    """Check the revision out into a folder of its own and install it there, if that was not done before."""
    commit = _run("git", "rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()
    folder = FOLDER / commit[:12]
    if not folder.exists():
        part = folder.with_suffix(".part")
        with tarfile.open(fileobj=io.BytesIO(_run("git", "archive", commit))) as archive:
            archive.extractall(part, filter="data")
        part.rename(folder)
    _run("make", "--silent", "setup", folder=folder)
    return Revision("old", folder)


def _run(program: str, *arguments: str, folder: Path = CHECKOUT) -> bytes:
    # Make passes its own variables on, which are about this checkout.
    env = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    found = shutil.which(program) or program
    return subprocess.run((found, *arguments), cwd=folder, env=env, check=True, stdout=subprocess.PIPE).stdout
