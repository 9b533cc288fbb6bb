from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from els_stream.config.settings import Settings
from els_stream.embedded.ports import FIRST, LAST, kept_ports
from els_stream.embedded.processes import ProcessId, this_process
from els_stream.embedded.servers import Addresses, addresses, register_web
from els_stream.embedded.state import RunningServers, StateFolder
from els_stream.errors import ConfigurationError

RUNNING = RunningServers("embedded", "127.0.0.1:1", "postgresql://els:otter@127.0.0.1:1/els")
NAMED = {"broker_url": "127.0.0.1:1", "database_url": "postgresql://els:otter@127.0.0.1:1/els"}


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def named_settings(folder: StateFolder) -> Settings:
    return Settings.model_validate({"state_dir": folder.path, **NAMED})


def test_the_record_is_read_back_and_only_its_owner_may_read_it(folder: StateFolder) -> None:
    folder.record(RUNNING)

    assert folder.running() == RUNNING
    assert stat.S_IMODE((folder.path / "servers.json").stat().st_mode) == 0o600


def test_an_incomplete_record_is_ignored(folder: StateFolder) -> None:
    (folder.path / "servers.json").write_text('{"kind": "embed')

    assert folder.running() is None


def test_recorded_servers_without_a_process_have_no_addresses(folder: StateFolder) -> None:
    folder.record(RUNNING)

    assert addresses(Settings(state_dir=folder.path)) is None


def test_a_reused_pid_is_not_the_process() -> None:
    assert this_process().alive
    assert not ProcessId(os.getpid(), "long before").alive


def test_the_address_of_a_registered_worker_is_known(folder: StateFolder) -> None:
    settings = named_settings(folder)
    assert addresses(settings) == Addresses(NAMED["broker_url"], NAMED["database_url"], None)

    register_web(settings, "http://127.0.0.1:6066")
    assert addresses(settings) == Addresses(NAMED["broker_url"], NAMED["database_url"], "http://127.0.0.1:6066")


def test_the_record_of_an_ended_worker_is_ignored(folder: StateFolder) -> None:
    settings = named_settings(folder)
    register_web(settings, "http://127.0.0.1:6067")
    dead = {"web": "http://127.0.0.1:6066", "pid": os.getpid(), "started": "long before"}
    (folder.path / "workers" / "1.json").write_text(json.dumps(dead))
    os.utime(folder.path / "workers" / "1.json", ns=(0, 0))

    assert folder.first_worker() == "http://127.0.0.1:6067"


def test_one_address_alone_is_a_configuration_error(folder: StateFolder) -> None:
    with pytest.raises(ConfigurationError, match="set both"):
        addresses(Settings.model_validate({"state_dir": folder.path, "broker_url": "127.0.0.1:1"}))


def test_ports_are_kept_and_are_below_the_ephemeral_ports(tmp_path: Path) -> None:
    ports = kept_ports(tmp_path / "ports.json", 3)

    assert ports == kept_ports(tmp_path / "ports.json", 3)
    assert len(set(ports)) == 3
    assert all(FIRST <= port < LAST for port in ports)
