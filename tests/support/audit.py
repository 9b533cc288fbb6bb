"""Look for known weaknesses of the locked packages, with `uv audit`; `make audit` runs this module.

It exits with 1 if a package has one. Where the service with the advisories can't be reached it says so and exits
with 0, so that CI passes without it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from els_stream.config.setting_types import CHECKOUT

LOCK_FILES: Final = tuple(CHECKOUT / f"requirements{kind}.txt" for kind in ("", "-dev", "-image"))
# Name, extras and version; a condition may follow.
PIN: Final = re.compile(r"^[\w.-]+(?:\[[\w,-]+\])?==[^\s;\\]+(?: ; [^\\\n]+)?", re.MULTILINE)
PROJECT: Final = '[project]\nname = "audited"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = [{}]\n'
UV: Final = str(Path(sys.executable).with_name("uv"))
UNREACHABLE: Final = re.compile(r"error sending request for url \(\S+/v1/\w+\)")
TIMEOUT_SECONDS: Final = 300


def audit(lock_files: Sequence[Path], *options: str) -> Iterator[tuple[int, str]]:
    """Yield an exit code and a text for each file; ends after the first if there are no advisories at hand."""
    for path in lock_files:
        done = _uv_audit([found.strip() for found in PIN.findall(path.read_text())], options)
        if done.returncode and UNREACHABLE.search(done.stderr):
            yield 0, "els: no advisories are at hand here, so no package was audited"
            return
        yield done.returncode, f"els: {path.name}: {done.stdout or done.stderr}".rstrip()


def _uv_audit(pins: Sequence[str], options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(PROJECT.format(", ".join(f'"{pin}"' for pin in pins)))
        command = [UV, "audit", "--preview-features", "audit-command", "--project", folder, *options]
        environment = os.environ | {"UV_HTTP_RETRIES": "0"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment
        )


if __name__ == "__main__":
    codes = []
    for code, text in audit(LOCK_FILES):
        codes.append(code)
        sys.stdout.write(f"{text}\n")
    sys.exit(max(codes))
