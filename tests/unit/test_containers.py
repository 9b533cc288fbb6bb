"""Checks of the container files without a Docker engine."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess

import pytest
import yaml
from jsonschema import Draft201909Validator

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.embedded.containers import KAFKA_IMAGE, POSTGRES_IMAGE
from els_stream.embedded.ports import LOOPBACK, new_ports
from els_stream.embedded.postgres import DISTRIBUTION
from els_stream.version import VERSION
from tests.support import programs, shared_servers
from tests.support.shared_servers import kind_of

COMPOSE = (CHECKOUT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
MONITORING_IMAGES = ("prom/", "grafana/")
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()


def test_compose_uses_the_images_of_els_up() -> None:
    images = set(re.findall(r"^ +image: (\S+)$", COMPOSE, re.MULTILINE))

    assert {image for image in images if not image.startswith(MONITORING_IMAGES)} == {
        POSTGRES_IMAGE,
        KAFKA_IMAGE,
        "els-stream",
    }


def test_containers_and_embedded_servers_have_the_same_postgresql() -> None:
    embedded = importlib.metadata.version(DISTRIBUTION).partition(".")[0]

    assert f"postgres:{embedded}" == POSTGRES_IMAGE


def test_a_test_that_kills_servers_or_uses_their_files_has_embedded_ones() -> None:
    assert kind_of(["addresses", "database"]) == "containers"
    assert kind_of(["addresses", "servers"]) == kind_of(["server_settings"]) == "embedded"


def test_a_run_with_containers_ends_with_one_line_without_an_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_servers, "CONTAINERS", True)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{LOOPBACK}:{new_ports(1)[0]}")
    monkeypatch.delenv("ELS_BROKER_URL", raising=False)
    monkeypatch.delenv("ELS_DATABASE_URL", raising=False)

    with pytest.raises(pytest.exit.Exception, match=r"^ELS_SERVERS=containers: no Docker engine answers: .+$") as ended:
        shared_servers.exit_without_engine()

    assert ended.value.returncode == pytest.ExitCode.USAGE_ERROR


def test_every_port_is_open_to_this_machine_only() -> None:
    published = re.findall(r"^ +- (\S*:\d+)$", COMPOSE, re.MULTILINE)

    assert len(published) == 5
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("text", [COMPOSE, DOCKERFILE], ids=["docker-compose.yml", "Dockerfile"])
def test_every_variable_is_a_setting(text: str) -> None:
    assert set(re.findall(r"\bELS_[A-Z_]+", text)) - {row.variable for row in rows(Settings)} == set()


def test_the_image_contains_every_installed_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) /app/\1$", DOCKERFILE, re.MULTILINE))
    kept = set(re.findall(r"^!(\w+)$", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE))

    assert copied == kept - {"LICENSE"} == {path.parent.name for path in CHECKOUT.glob("*/__init__.py")}


def test_the_image_runs_without_root_and_installs_checked_packages() -> None:
    installs = re.findall(r"\binstall --require-hashes -r /build/([\w.-]+)", DOCKERFILE)

    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert installs == ["requirements.txt", "requirements-image.txt"]
    assert len(re.findall(r"\bpip\b.* install\b", DOCKERFILE)) == len(installs)
    assert all("--hash=sha256:" in (CHECKOUT / name).read_text() for name in installs)


def test_only_the_build_stage_has_a_compiler() -> None:
    build, image = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]

    assert build.startswith("python:3.13-slim AS build\n")
    assert "install --yes --no-install-recommends gcc libc6-dev zlib1g-dev" in build
    assert "/opt/els/bin/python -c 'import faust._cython.streams'" in build
    assert image.startswith("python:3.13-slim\n")
    assert "apt-get" not in image
    assert re.findall(r"^COPY (.+)$", image, re.MULTILINE) == [
        "--from=build /opt/els /opt/els",
        "--from=build /app /app",
    ]


def test_the_image_has_the_version_of_the_release_and_lists_of_its_packages() -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in DOCKERFILE
    assert "/opt/els/share/els_stream/sbom.cdx.json" in DOCKERFILE
    assert "/opt/els/share/els_stream/licenses.json" in DOCKERFILE


def test_compose_fits_the_schema_of_compose_files() -> None:
    """Where Docker Compose is installed, it also reads the file."""
    try:
        schema = json.loads(programs.compose_schema().read_text())
    except programs.ProgramMissing as missing:
        pytest.fail(str(missing))
    compose = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", COMPOSE))
    compose.pop("name")  # younger than this schema

    assert [error.message for error in Draft201909Validator(schema).iter_errors(compose)] == []
    compose["services"]["worker"]["prots"] = []
    assert [error.message for error in Draft201909Validator(schema).iter_errors(compose)] != []
    if docker_compose():
        for profile in ("demo", "monitoring"):
            subprocess.run([*docker_compose(), "--profile", profile, "config", "--quiet"], cwd=CHECKOUT, check=True)


def docker_compose() -> list[str]:
    """Return the command of Docker Compose, or nothing where there is none."""
    docker = shutil.which("docker")
    if docker is None:
        return []
    command = [docker, "compose"]
    found = subprocess.run([*command, "version"], capture_output=True, check=False)
    return command if found.returncode == 0 else []


def test_services_of_this_project_run_read_only_and_without_rights() -> None:
    ours = {name: service for name, service in SERVICES.items() if service.get("image") == "els-stream"}

    assert ours.keys() == {"prepare", "worker", "demo"}
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_profiles_are_for_what_is_not_always_wanted() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "demo": ["demo"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_files_that_are_mounted_exist_and_stay_as_they_are() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ()) if mount[0] == "."]

    assert len(mounts) == 5
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (CHECKOUT / source).is_file()
        assert mode == "ro"


def test_the_example_of_the_environment_has_every_variable_with_its_default() -> None:
    used = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
    lines = (CHECKOUT / ".env.example").read_text().splitlines()

    assert dict(line.split("=", 1) for line in lines if not line.startswith("#")) == used
