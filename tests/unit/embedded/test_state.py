from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from els_stream.config.settings import Settings
from els_stream.embedded.cluster import Topology
from els_stream.embedded.kafka_cluster import KafkaCluster
from els_stream.embedded.ports import FIRST, LAST, kept_ports
from els_stream.embedded.processes import ProcessId, this_process
from els_stream.embedded.servers import Addresses, addresses, promote, register_web, up
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


def test_the_record_of_an_earlier_release_is_of_single_servers(folder: StateFolder) -> None:
    fields = {"kind": "embedded", "broker": "127.0.0.1:1", "database_url": RUNNING.database_url, "containers": []}
    (folder.path / "servers.json").write_text(json.dumps(fields))

    assert folder.running() == RUNNING


async def test_a_standby_can_only_take_over_where_one_runs(folder: StateFolder) -> None:
    folder.record(RUNNING)

    with pytest.raises(ConfigurationError, match="els up --standby"):
        await promote(Settings(state_dir=folder.path))


async def test_containers_are_single_servers(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, servers="containers")

    with pytest.raises(ConfigurationError, match="embedded servers only"):
        await up(settings, topology=Topology(brokers=3))


def test_nodes_of_a_cluster_know_all_controllers(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path, 3)
    kept_ports(tmp_path / "kafka-cluster.ports.json", 6)
    lines = [cluster.properties_of(number).splitlines() for number in (1, 2, 3)]
    voters = {next(line for line in each if line.startswith("controller.quorum.voters=")) for each in lines}

    assert [each[0] for each in lines] == ["node.id=1", "node.id=2", "node.id=3"]
    assert len(voters) == 1
    assert {f"{number}@127.0.0.1:{cluster.ports_of(number)[1]}" for number in (1, 2, 3)} == set(
        voters.pop().partition("=")[2].split(",")
    )
    assert all("min.insync.replicas=2" in each for each in lines)
