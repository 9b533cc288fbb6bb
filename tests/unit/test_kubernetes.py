"""The manifests of deploy/kubernetes, built by kustomize and checked against the schemas of Kubernetes, offline."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import ValidationError

from els_stream.cli import ENTRIES
from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.config.settings_reference import rows
from els_stream.consumer.faust_app import FORCED_EXIT_AFTER_SECONDS
from els_stream.version import VERSION
from tests.support import programs
from tests.support.generated_docs import PROMETHEUS_RULE, prometheus_rule

FOLDER: Final = CHECKOUT / "deploy" / "kubernetes"
KUBERNETES: Final = "1.37"
OPERATOR_GROUP: Final = "monitoring.coreos.com/v1"
Object = dict[str, Any]


@cache
def built(folder: str) -> tuple[Object, ...]:
    """Return the objects that kustomize makes of a folder."""
    try:
        program = programs.kubectl()
    except programs.ProgramMissing as missing:
        pytest.fail(str(missing))
    done = subprocess.run(
        [program, "kustomize", str(FOLDER / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def the(kind: str, folder: str = "example") -> Object:
    (found,) = (one for one in built(folder) if one["kind"] == kind)
    return found


def pods() -> Iterator[Object]:
    """Yield the pod template of each object that makes pods."""
    yield the("Deployment")["spec"]["template"]
    yield the("Job")["spec"]["template"]
    yield the("CronJob")["spec"]["jobTemplate"]["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@pytest.mark.parametrize("folder", ["base", "example"])
def test_every_object_fits_the_schema_of_kubernetes(folder: str) -> None:
    for one in built(folder):
        if one["apiVersion"] != OPERATOR_GROUP:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_a_misspelt_field_is_found() -> None:
    broken = {**the("Deployment"), "spec": {**the("Deployment")["spec"], "replica": 1}}

    with pytest.raises(ValidationError, match="replica"):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_base_has_what_a_service_needs() -> None:
    assert sorted(one["kind"] for one in built("base")) == [
        "ConfigMap",
        "Deployment",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ]
    extra = {one["kind"] for one in built("example")} - {one["kind"] for one in built("base")}
    assert extra == {"CronJob", "ServiceMonitor", "PrometheusRule"}


def test_every_setting_exists_and_no_secret_is_a_variable() -> None:
    known = {row.variable for row in rows(Settings)}
    for folder in ("base", "example"):
        assert the("ConfigMap", folder)["data"].keys() - known == set()
    assert the("ConfigMap")["data"]["ELS_PURGE_ENABLED"] == "false"
    for pod in pods():
        files = {f"{one['mountPath']}/" for c in containers(pod) for one in c["volumeMounts"]}
        assert {Path(the("ConfigMap")["data"][name]).parent.as_posix() + "/" for name in files_of_secrets()} <= files
        assert all("env" not in container for container in containers(pod))


def files_of_secrets() -> list[str]:
    return [name for name in the("ConfigMap")["data"] if name.endswith("_FILE")]


def test_pods_have_no_rights_and_write_nothing_but_temporary_files() -> None:
    for pod in pods():
        spec = pod["spec"]
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() == {"memory"}, "a limit of CPU throttles in bursts"


def test_every_container_runs_a_command_of_els_in_the_image_of_this_release() -> None:
    images = {container["image"] for pod in pods() for container in containers(pod)}
    commands = [container["args"][0] for pod in pods() for container in containers(pod)]

    assert images == {f"els-stream:{VERSION}"}
    assert commands == ["worker", "migrate", "topics", "purge"]
    assert set(commands) <= set(ENTRIES)


def test_the_account_of_the_pods_is_that_of_the_image() -> None:
    (uid,) = re.findall(r"--uid (\d+)", (CHECKOUT / "Dockerfile").read_text())

    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods()} == {int(uid)}


def test_a_worker_has_time_to_end_and_probes_its_own_pages() -> None:
    spec = the("Deployment")["spec"]["template"]["spec"]
    (worker,) = spec["containers"]
    pause = worker["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pause + FORCED_EXIT_AFTER_SECONDS < spec["terminationGracePeriodSeconds"]
    probes = {name: worker[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert worker["ports"] == [{"name": "http", "containerPort": 6066}]


def test_a_rollout_and_a_drained_node_leave_workers() -> None:
    rollout = the("Deployment")["spec"]["strategy"]["rollingUpdate"]

    assert rollout == {"maxSurge": 1, "maxUnavailable": 0}
    assert the("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_selectors_match_pods_of_this_service_only() -> None:
    """Other applications of the namespace may have a component `worker` too."""
    pod = the("Deployment")["spec"]["template"]
    labels = {"app.kubernetes.io/name": "els-stream", "app.kubernetes.io/component": "worker"}
    (spread,) = pod["spec"]["topologySpreadConstraints"]

    assert pod["metadata"]["labels"] == labels
    assert [
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
        the("ServiceMonitor")["spec"]["selector"]["matchLabels"],
    ] == [labels] * 5
    assert the("Service")["metadata"]["labels"] == labels
    of_all_pods = the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert of_all_pods == {"app.kubernetes.io/name": "els-stream"}
    assert all(of_all_pods.items() <= pod["metadata"]["labels"].items() for pod in pods())


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    groups = yaml.safe_load((CHECKOUT / "deploy" / "monitoring" / "alerts.yml").read_text())["groups"]

    assert PROMETHEUS_RULE.read_text() == prometheus_rule(), "run `make docs`"
    assert the("PrometheusRule")["spec"]["groups"] == groups
