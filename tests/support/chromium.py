"""Find a Chromium for the browser tests, or install Playwright's, or Debian's if apt is available.

`make browser` runs this module; it prints the path, or exits with one line of advice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "microsoft-edge-stable")
# No background traffic, and it works as root and in containers with a small /dev/shm.
ARGUMENTS: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
HELP: Final = "els: no Chromium for the browser tests: install one (`apt-get install chromium`), then `make test`"
DOWNLOAD_TIMEOUT_SECONDS: Final = 180
APT_TIMEOUT_SECONDS: Final = 600


def find() -> str | None:
    """Return the path of an installed browser."""
    installed = next(filter(None, map(shutil.which, NAMES)), None)
    if installed is not None:
        return installed
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return str(own) if own.is_file() else None


def install() -> str | None:
    """Install a browser and return its path, or None."""
    _try([sys.executable, "-m", "playwright", "install", "chromium"], DOWNLOAD_TIMEOUT_SECONDS)
    found = find()
    apt = shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        command = [apt, "install", "--yes", "--no-install-recommends", "chromium"]
        if not _try(command, APT_TIMEOUT_SECONDS):
            _try([apt, "update"], APT_TIMEOUT_SECONDS)
            _try(command, APT_TIMEOUT_SECONDS)
        found = find()
    return found


def _try(command: list[str], seconds: float) -> bool:
    sys.stderr.write(f"els: {' '.join(command)}\n")
    try:
        return subprocess.run(command, stdout=sys.stderr, timeout=seconds, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    browser = find() or install()
    if browser is None:
        sys.exit(HELP)
    sys.stdout.write(f"{browser}\n")
