"""The lock file can be installed on each platform of docs/image.md, as the page says: by wheels, or with a compiler."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from els_stream.config.setting_types import CHECKOUT
from tests.support.generated_docs import DOCS

PLATFORMS: Final = {
    "Linux x86-64": "x86_64-unknown-linux-gnu",
    "Linux ARM64": "aarch64-unknown-linux-gnu",
    "macOS ARM64": "aarch64-apple-darwin",
}
ROW: Final = re.compile(r"^\| ([^|]+) \| (3\.\d+(?:, 3\.\d+)*) \| ([^|]+) \|$", re.MULTILINE)
LINES: Final = [
    (platform, python, packages)
    for platform, pythons, packages in ROW.findall((DOCS / "image.md").read_text())
    for python in pythons.split(", ")
]
FROM_SOURCE: Final = ("--no-binary", "faust-streaming")


def resolve(platform: str, python: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Choose a file of each package for the platform, without installing any."""
    command = [
        *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--dry-run", "--quiet", "--no-deps"),
        *("--require-hashes", "--only-binary", ":all:", "--target", str(folder)),
        *("--python-platform", PLATFORMS[platform], "--python-version", python, *options),
        *("-r", str(CHECKOUT / "requirements.txt")),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_the_page_has_every_platform_and_python() -> None:
    assert {(platform, python) for platform, python, _ in LINES} == {
        (platform, f"3.{minor}") for platform in PLATFORMS for minor in range(11, 15)
    }


@pytest.mark.parametrize(("platform", "python", "packages"), LINES)
def test_every_package_has_a_file_for_the_platform(platform: str, python: str, packages: str, tmp_path: Path) -> None:
    by_wheels = resolve(platform, python, tmp_path)
    if packages == "wheels":
        assert by_wheels.returncode == 0, by_wheels.stderr
        return
    assert "faust-streaming" in by_wheels.stderr
    from_source = resolve(platform, python, tmp_path, *FROM_SOURCE)
    assert from_source.returncode == 0, from_source.stderr
