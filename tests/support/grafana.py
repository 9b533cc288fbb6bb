"""The Grafana dashboard of deploy/monitoring, made from a list of panels; `make docs` writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from els_stream.config.setting_types import CHECKOUT

DASHBOARD: Final = CHECKOUT / "deploy" / "monitoring" / "dashboard.json"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
# Grafana sets it from the time range and the interval of scrapes.
RATE_INTERVAL: Final = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with its queries and their legends; a `stat` shows one number, else lines are drawn."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    description: str = ""


def _quantile(quantile: float, histogram: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate({histogram}_bucket[{RATE_INTERVAL}])))"


PANELS: Final = (
    Panel("Workers", (("count(els_build_info)", "workers"),), kind="stat"),
    Panel("Records that wait in Kafka", (("sum(els_lag_records)", "lag"),), kind="stat"),
    Panel("Oldest event in the outbox", (("max(els_outbox_oldest_seconds)", "age"),), "s", "stat"),
    Panel("Open dead letters", (("sum(max by (reason) (els_dead_letters))", "open"),), kind="stat"),
    Panel(
        "Events by outcome",
        ((f"sum by (outcome) (rate(els_events_total[{RATE_INTERVAL}]))", "{{outcome}}"),),
        "cps",
    ),
    Panel(
        "From an input record to the acknowledged event",
        ((_quantile(0.5, "els_end_to_end_seconds"), "median"), (_quantile(0.99, "els_end_to_end_seconds"), "99 %")),
        "s",
    ),
    Panel("Lag by topic", (("sum by (topic) (els_lag_records)", "{{topic}}"),)),
    Panel(
        "Outbox",
        (("max(els_outbox_rows)", "waiting"), ("max(els_outbox_deferred_rows)", "deferred")),
        description="Deferred rows were rejected and wait for their next attempt.",
    ),
    Panel(
        "Relay",
        (
            (f"sum(rate(els_relay_acked_total[{RATE_INTERVAL}]))", "acknowledged per second"),
            ("sum(els_relay_in_flight)", "in flight"),
            ("sum(els_relay_failing_components)", "failing components"),
        ),
    ),
    Panel(
        "Reasons for not being ready",
        (("max by (instance, code) (els_not_ready)", "{{instance}} {{code}}"),),
        description="1 while a worker gives the reason; the runbook has a row for each.",
    ),
    Panel(
        "Batches",
        (
            ("max by (class_type) (huleedu_batches_active)", "active {{class_type}}"),
            ("max by (class_type) (huleedu_batches_completed)", "completed {{class_type}}"),
        ),
    ),
    Panel("Events before their registration", (("max by (kind) (els_pending_events)", "{{kind}}"),)),
    Panel("Dead letters by reason", (("max by (reason) (els_dead_letters)", "{{reason}}"),)),
    Panel(
        "Contract violations by field, last hour",
        (
            ("topk(10, sum by (topic, field) (increase(els_contract_violations_total[1h])))", "{{topic}} {{field}}"),
            ("sum by (topic, field) (increase(els_unknown_values_total[1h]))", "unknown value {{topic}} {{field}}"),
        ),
    ),
    Panel(
        "Failed attempts by class",
        ((f"sum by (class) (rate(els_batch_failures_total[{RATE_INTERVAL}]))", "{{class}}"),),
        "cps",
    ),
    Panel(
        "Micro-batches, 99 %",
        (
            (_quantile(0.99, "els_micro_batch_seconds"), "whole"),
            (_quantile(0.99, "els_handler_seconds"), "handler"),
            (_quantile(0.99, "els_commit_seconds"), "commit"),
        ),
        "s",
    ),
    Panel(
        "Database connections",
        (
            ("sum by (pool) (els_pool_checked_out)", "{{pool}} in use"),
            ("sum by (pool) (els_pool_size)", "{{pool}} at most"),
            ("sum by (pool) (els_pool_waiting)", "{{pool}} waiting"),
        ),
    ),
    Panel(
        "Timers, last hour",
        (
            ("sum by (timer) (increase(els_timer_items_total[1h]))", "{{timer}}"),
            ("sum by (timer) (increase(els_timer_failures_total[1h]))", "{{timer}} failed"),
        ),
    ),
    Panel(
        "Consumer events, last hour",
        (("sum by (event) (increase(els_consumer_events_total[1h]))", "{{event}}"),),
    ),
    Panel("Age of the values from the database", (("min(els_stats_age_seconds)", "age"),), "s"),
)


def dashboard() -> str:
    """Return the dashboard as JSON, with small numbers on top and then two panels a row."""
    stats = [panel for panel in PANELS if panel.kind == "stat"]
    lines = [panel for panel in PANELS if panel.kind != "stat"]
    width = WIDTH // len(stats)
    panels = [_panel(panel, n + 1, (n * width, 0, width, 4)) for n, panel in enumerate(stats)]
    panels += [_panel(panel, len(stats) + n + 1, (n % 2 * 12, 4 + n // 2 * 8, 12, 8)) for n, panel in enumerate(lines)]
    board = {
        "title": "Essay Lifecycle Service",
        "uid": "els-stream",
        "tags": ["els_stream"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }
    return json.dumps(board, indent=2) + "\n"


def _panel(panel: Panel, number: int, place: tuple[int, int, int, int]) -> dict[str, Any]:
    return {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "gridPos": dict(zip("xywh", place, strict=True)),
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
            for n, (query, legend) in enumerate(panel.queries)
        ],
    }
