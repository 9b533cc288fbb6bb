"""Checks of the container files without a Docker engine."""

from __future__ import annotations

import re

import pytest

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.embedded.containers import KAFKA_IMAGE, POSTGRES_IMAGE

COMPOSE = (CHECKOUT / "docker-compose.yml").read_text()
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()


def test_compose_uses_the_images_of_els_up() -> None:
    images = set(re.findall(r"^ +image: (\S+)$", COMPOSE, re.MULTILINE))

    assert images == {POSTGRES_IMAGE, KAFKA_IMAGE, "els-stream"}


def test_every_port_is_open_to_this_machine_only() -> None:
    published = re.findall(r"^ +- (\S*:\d+)$", COMPOSE, re.MULTILINE)

    assert len(published) == 3
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("text", [COMPOSE, DOCKERFILE], ids=["docker-compose.yml", "Dockerfile"])
def test_every_variable_is_a_setting(text: str) -> None:
    assert set(re.findall(r"\bELS_[A-Z_]+", text)) - {row.variable for row in rows(Settings)} == set()


def test_the_image_contains_every_installed_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) /app/\1$", DOCKERFILE, re.MULTILINE))
    kept = set(re.findall(r"^!(\w+)$", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE))

    assert copied == kept == {path.parent.name for path in CHECKOUT.glob("*/__init__.py")}


def test_the_image_runs_without_root_and_installs_checked_packages() -> None:
    assert re.search(r"^USER (?!root|0)", DOCKERFILE, re.MULTILINE)
    assert "pip install" in DOCKERFILE
    assert DOCKERFILE.count("pip install") == DOCKERFILE.count("--require-hashes -r /app/requirements.txt")
