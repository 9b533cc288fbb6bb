"""Run the tests that need no server under every other Python of this machine that the service supports.

`make other-pythons` runs this module. Environments are made below `.els/pythons`, once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from els_stream.config.setting_types import CHECKOUT

FOLDER: Final = CHECKOUT / ".els" / "pythons"
VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
PIP: Final = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
ASK_VERSION: Final = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def others() -> Iterator[tuple[str, str]]:
    """Yield version and path of each other Python, from PATH or from pyenv."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        works = (str(path) for path in candidates if path is not None and _version(str(path)) == version)
        found = next(works, None)
        if version != own and found is not None:
            yield version, found


def _version(python: str) -> str:
    done = subprocess.run([python, "-c", ASK_VERSION], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run_tests(version: str, python: str) -> int:
    """Make the environment if there is none, and return the exit code of the tests."""
    folder = FOLDER / version
    own = str(folder / "bin" / "python")
    if not (folder / "installed").exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([own, *PIP, "--require-hashes", "-r", "requirements-dev.txt"], cwd=CHECKOUT, check=True)
        install = [own, *PIP, "--no-deps", "--no-build-isolation", "--no-index", "-e", "."]
        subprocess.run(install, cwd=CHECKOUT, check=True)
        (folder / "installed").touch()
    tests = [own, "-m", "pytest", "-n", "auto", "--timeout", "300", "-p", "no:cacheprovider", *sys.argv[1:]]
    return subprocess.run([*tests, "tests/unit"], cwd=CHECKOUT, check=False).returncode


if __name__ == "__main__":
    codes = {version: run_tests(version, python) for version, python in others()}
    sys.stdout.write(f"exit codes by Python: {codes}\n")
    sys.exit(max(codes.values(), default=0))
