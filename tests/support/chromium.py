"""A Chromium for the tests of the page: one that is here, else Playwright's, else Debian's where apt may.

`make browser` runs this; it says what it found, or ends with one line that helps.
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
# It talks to nobody but the page, and works as root and in containers without a large /dev/shm.
ARGUMENTS: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
HELP: Final = "els: no Chromium for the tests of the page: install one (`apt-get install chromium`), then `make test`"
DOWNLOAD_SECONDS: Final = 180
APT_SECONDS: Final = 600


def find() -> str | None:
    """The path of a browser that is here."""
    installed = next(filter(None, map(shutil.which, NAMES)), None)
    if installed is not None:
        return installed
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return str(own) if own.is_file() else None


def fetch() -> str | None:
    """Brings one here, and gives its path."""
    _try([sys.executable, "-m", "playwright", "install", "chromium"], DOWNLOAD_SECONDS)
    found = find()
    apt = shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        install = [apt, "install", "--yes", "--no-install-recommends", "chromium"]
        if not _try(install, APT_SECONDS):
            _try([apt, "update"], APT_SECONDS)
            _try(install, APT_SECONDS)
        found = find()
    return found


def _try(command: list[str], seconds: float) -> bool:
    sys.stderr.write(f"els: {' '.join(command)}\n")
    try:
        return subprocess.run(command, stdout=sys.stderr, timeout=seconds, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    browser = find() or fetch()
    if browser is None:
        sys.exit(HELP)
    sys.stdout.write(f"{browser}\n")
