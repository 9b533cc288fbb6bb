"""Find the software that no wheel carries: PgBouncer, a PostgreSQL with TLS, a C compiler; or install Debian's.

`make servers` runs this module; it prints their paths, or exits with one line of advice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

PACKAGES: Final = ("pgbouncer", "postgresql", "gcc", "libc6-dev")
HELP: Final = f"install {', '.join(PACKAGES)} (`apt-get install {' '.join(PACKAGES)}`), or run `make servers`"
# Debian keeps the servers out of the users' path.
FOLDERS: Final = (*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin")
APT_TIMEOUT_SECONDS: Final = 600


def find_pgbouncer() -> Path | None:
    found = shutil.which("pgbouncer", path=os.pathsep.join(FOLDERS))
    return None if found is None else Path(found)


def find_postgres() -> Path | None:
    """Return the folder of the newest installed PostgreSQL's binaries."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    debian = sorted((path.parent for path in installed), key=lambda path: int(path.parent.name))
    if debian:
        return debian[-1]
    found = shutil.which("postgres")
    return None if found is None else Path(found).resolve().parent


def find_compiler() -> Path | None:
    found = shutil.which("cc") or shutil.which("gcc")
    return None if found is None else Path(found)


def required(path: Path | None, name: str) -> Path:
    """Return the path; the test fails with advice if there is none."""
    if path is None:
        pytest.fail(f"no {name} for this test: {HELP}")
    return path


def install() -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    # Debian makes a database of its own and starts it, unless the run level is 1.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (("update",), ("install", "--yes", "--no-install-recommends", *PACKAGES)):
        sys.stderr.write(f"els: {apt} {' '.join(arguments)}\n")
        subprocess.run([apt, *arguments], stdout=sys.stderr, timeout=APT_TIMEOUT_SECONDS, check=False, env=environment)


if __name__ == "__main__":
    if None in (find_pgbouncer(), find_postgres(), find_compiler()):
        install()
    found = find_pgbouncer(), find_postgres(), find_compiler()
    if None in found:
        sys.exit(f"els: tests of poolers, of TLS and of clocks need more software: {HELP}")
    sys.stdout.write("".join(f"{path}\n" for path in found))
