"""The alert rules and the dashboard of deploy/monitoring."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from els_stream.config.setting_types import CHECKOUT
from tests.support import grafana, programs
from tests.support.generated_docs import DOCS, full_registry

MONITORING: Final = CHECKOUT / "deploy" / "monitoring"
RULES: Final = yaml.safe_load((MONITORING / "alerts.yml").read_text())
TESTS: Final = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())
ALERTS: Final[list[dict[str, Any]]] = RULES["groups"][0]["rules"]
NAMES: Final = [alert["alert"] for alert in ALERTS]
METRIC: Final = re.compile(r"\b((?:els|huleedu|batches)_[a-z_]+)")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        program, environment = programs.find("promtool")
    except programs.ProgramMissing as missing:
        pytest.fail(str(missing))
    command = [program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def series_names() -> Iterator[str]:
    """Yield the names of all series that a worker exports."""
    for family in full_registry().collect():
        yield from (sample.name for sample in family.samples)


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", MONITORING / "alerts.yml")

    assert done.returncode == 0, done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout


def test_the_alerts_fire_when_they_should_and_not_otherwise() -> None:
    done = promtool("test", "rules", MONITORING / "alerts_test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_the_rules_name_files_and_alerts_that_exist() -> None:
    """By itself promtool passes a test of a missing file or of an unknown alert, if none is expected."""
    fired = {
        name
        for test in TESTS["tests"]
        for check in test.get("promql_expr_test", [])
        for sample in check["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }

    assert [(MONITORING / name).is_file() for name in TESTS["rule_files"]] == [True]
    assert fired == set(NAMES)
    assert all(
        any(check["exp_samples"] == [] for check in test["promql_expr_test"])
        for test in TESTS["tests"]
        if "promql_expr_test" in test
    )


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (Els\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)

    assert sections == NAMES
    assert {a["alert"]: a["annotations"]["runbook"] for a in ALERTS} == {
        name: f"docs/runbook.md#{name.lower()}" for name in NAMES
    }
    assert {alert["labels"]["severity"] for alert in ALERTS} == {"page", "ticket"}


def test_alerts_and_dashboard_name_only_metrics_that_a_worker_exports() -> None:
    queries = [query for panel in grafana.PANELS for query, _ in panel.queries]
    named = {name for text in (*queries, *(alert["expr"] for alert in ALERTS)) for name in METRIC.findall(text)}

    assert named - set(series_names()) == set()


def test_the_dashboard_is_current() -> None:
    assert grafana.DASHBOARD.read_text() == grafana.dashboard(), "run `make docs`"
    assert len({panel.title for panel in grafana.PANELS}) == len(grafana.PANELS)
