from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from els_stream.embedded import unprivileged
from els_stream.embedded.unprivileged import reachable, reachable_copy

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(unprivileged, "SHARED", tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A program in a folder that only its owner may enter."""
    folder = tmp_path / "hidden" / "program"
    folder.mkdir(parents=True)
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o700)
    folder.parent.chmod(0o700)
    return folder


def test_an_unreachable_program_is_copied_and_keeps_its_permissions(hidden: Path, shared: Path) -> None:
    copy = reachable_copy("program-1", [hidden], NOBODY)

    assert copy == shared / "program-1"
    assert (copy / "program" / "run").stat().st_mode & 0o777 == 0o755
    assert not reachable(hidden)
    assert hidden.parent.stat().st_mode & 0o777 == 0o700


def test_a_copy_is_made_once(hidden: Path, shared: Path) -> None:
    first = reachable_copy("program-1", [hidden], NOBODY)
    (first / "marker").touch()

    assert (reachable_copy("program-1", [hidden], NOBODY) / "marker").exists()
    assert [path.name for path in shared.iterdir()] == ["program-1"]


def test_nothing_is_copied_for_the_present_account(hidden: Path, shared: Path) -> None:
    assert reachable_copy("program-1", [hidden], None) == hidden.parent
    assert not shared.exists()
