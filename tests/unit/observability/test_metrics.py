from __future__ import annotations

import ast
import time
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import els_stream.observability.collectors
import els_stream.observability.metrics
from els_stream.consumer.reporting import BatchTimings, ConsumerEvent, ConsumerMetrics
from els_stream.db.engine import PoolUsage
from els_stream.events.input_timestamp import truncate_timestamp
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.kafka.offsets import PartitionLag
from els_stream.observability.metrics import Metrics
from els_stream.queries.outbox import WaitingRow
from els_stream.queries.stats import PurgeStats, Stats
from els_stream.relay import RelayStatus

FIGURES = Stats(
    active={"GUEST": 3, "REGULAR": 4},
    completed={"GUEST": 5, "REGULAR": 6},
    purged={"GUEST": 7, "REGULAR": 0},
    dead_letters={"not_json": 2},
    parked={"content_provisioned": 9},
    parked_oldest_seconds=61.5,
    outbox_rows=8,
    outbox_held=1,
    outbox_oldest_seconds=2.5,
    purge=PurgeStats(running=True, batches=12, started_at=1.7e9, finished=False),
)
# Each label may take these values and `other`; a partition is bounded by its topic, a version by what is installed.
CLOSED = {
    "topic",
    "outcome",
    "class",
    "event",
    "cause",
    "reason",
    "kind",
    "timer",
    "class_type",
    "pool",
    "partition",
    "version",
    "python",
    "le",
}
FIXED_NAMES = {"huleedu_batches_active", "huleedu_batches_completed", "batches_purged_total"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), {"register_batch": BATCH_REGISTERED, "assign_content": CONTENT_PROVISIONED})


def show_everything(metrics: Metrics) -> None:
    metrics.figures(FIGURES)
    metrics.watch_relay(lambda: RelayStatus(0, 1, 0, acked=0, refused=0, troubles={}))
    metrics.watch_lag(lambda: [PartitionLag(CONTENT_PROVISIONED, 0, 0)])
    metrics.watch_pool("worker", lambda: PoolUsage(10, 4, 3, 2))


def waiting(stamp: int | None) -> WaitingRow:
    return WaitingRow(0, "batch", UUID(int=1), "topic", None, None, b"[]", 0, stamp)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_outcomes_are_counted_by_topic(metrics: Metrics) -> None:
    metrics.record_batch(
        "assign_content", {"assigned": 3, "excess": 1}, records=4, timings=BatchTimings(0.02, 0.015, 0.002)
    )

    assert value(metrics, "els_events_total", topic=CONTENT_PROVISIONED, outcome="assigned") == 3
    assert value(metrics, "els_events_total", topic=CONTENT_PROVISIONED, outcome="excess") == 1
    assert value(metrics, "els_micro_batch_records_sum", topic=CONTENT_PROVISIONED) == 4
    assert value(metrics, "els_micro_batch_seconds_bucket", topic=CONTENT_PROVISIONED, le="0.025") == 1
    assert value(metrics, "els_micro_batch_seconds_bucket", topic=CONTENT_PROVISIONED, le="0.01") == 0
    assert value(metrics, "els_handler_seconds_sum", topic=CONTENT_PROVISIONED) == 0.015
    assert value(metrics, "els_commit_seconds_sum", topic=CONTENT_PROVISIONED) == 0.002


def test_the_way_of_an_event_is_measured_from_its_record_to_the_ack(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_764_000_000_000
    monkeypatch.setattr(time, "time", lambda: now / 1000)
    by_the_clock = None

    metrics.acked([waiting(truncate_timestamp(now - age)) for age in (40, 40, 90_000)], now)
    metrics.acked([waiting(by_the_clock)], now)

    assert value(metrics, "els_end_to_end_seconds_bucket", le="0.025") == 0
    assert value(metrics, "els_end_to_end_seconds_bucket", le="0.05") == 2
    assert value(metrics, "els_end_to_end_seconds_bucket", le="60.0") == 2
    assert value(metrics, "els_end_to_end_seconds_count") == 3
    assert value(metrics, "els_end_to_end_seconds_sum") == pytest.approx(90.08)


def test_every_latency_is_told_apart_from_a_millisecond_to_a_minute(metrics: Metrics) -> None:
    metrics.record_batch("assign_content", {"assigned": 1}, records=1, timings=BatchTimings(0.02, 0.015, 0.002))
    bounds = {
        family.name: [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
        for family in metrics.registry.collect()
        if family.type == "histogram" and family.name.endswith("_seconds")
    }

    assert {names[0] for names in bounds.values()} == {"0.001"}
    assert {names[-2] for names in bounds.values()} == {"60.0"}
    assert bounds.keys() >= {"els_handler_seconds", "els_commit_seconds", "els_end_to_end_seconds"}


def test_series_exist_before_their_first_event(metrics: Metrics) -> None:
    assert value(metrics, "els_events_total", topic=BATCH_REGISTERED, outcome="registered") == 0
    assert value(metrics, "els_consumer_dead_letters_total", topic=BATCH_REGISTERED, reason="unprocessable") == 0


def test_a_value_outside_its_set_makes_no_series_of_its_own(metrics: Metrics) -> None:
    for number in range(100):
        metrics.record_batch(f"agent-{number}", {f"batch-{number}": 1}, records=1, timings=BatchTimings(0.1, 0.1, 0.1))
        metrics.record_failure(f"agent-{number}", f"verdict-{number}", f"Error{number}")
        metrics.record_dead_letter(f"agent-{number}", f"reason-{number}")

    assert value(metrics, "els_events_total", topic="other", outcome="other") == 100
    assert value(metrics, "els_batch_failures_total", topic="other", **{"class": "other"}) == 100
    assert "-99" not in generate_latest(metrics.registry).decode()


@pytest.mark.parametrize(
    ("cause", "family"),
    [
        ("08006", "connection"),
        ("40P01", "rollback"),
        ("42P01", "schema"),
        ("XX000", "internal"),
        ("3D000", "database_missing"),
        ("57014", "intervention"),
        ("99999", "other"),
        ("ConnectionRefusedError", "driver"),
        ("ERROR", "driver"),
    ],
)
def test_a_failure_is_counted_under_the_family_of_its_cause(metrics: Metrics, cause: str, family: str) -> None:
    metrics.record_failure("assign_content", "transient", cause)

    assert value(metrics, "els_batch_failure_causes_total", cause=family, **{"class": "transient"}) == 1
    assert value(metrics, "els_batch_failures_total", topic=CONTENT_PROVISIONED, **{"class": "transient"}) == 1


def test_every_occurrence_of_the_intake_has_a_series(metrics: Metrics) -> None:
    for occurrence in ConsumerEvent:
        metrics.record_event(occurrence, 2)

    assert {value(metrics, "els_consumer_events_total", event=event) for event in ConsumerEvent} == {2}


def test_lag_is_asked_for_at_each_scrape(metrics: Metrics) -> None:
    lag = [PartitionLag(CONTENT_PROVISIONED, 3, 42)]
    metrics.watch_lag(lambda: lag)
    assert value(metrics, "els_lag_records", topic=CONTENT_PROVISIONED, partition="3") == 42

    lag.clear()

    assert value(metrics, "els_lag_records", topic=CONTENT_PROVISIONED, partition="3") is None


def test_a_worker_without_a_relay_shows_nothing_of_one(metrics: Metrics) -> None:
    assert value(metrics, "els_relay_shards") is None

    metrics.watch_relay(lambda: RelayStatus(32, 2, 5, acked=100, refused=1, troubles={"lane 0": "KafkaTimeoutError"}))

    assert value(metrics, "els_relay_shards") == 32
    assert value(metrics, "els_relay_members") == 2
    assert value(metrics, "els_relay_in_flight") == 5
    assert value(metrics, "els_relay_acked_total") == 100
    assert value(metrics, "els_relay_rejected_total") == 1
    assert value(metrics, "els_relay_failing_components") == 1


def test_each_pool_is_asked_at_each_scrape(metrics: Metrics) -> None:
    metrics.watch_pool("worker", lambda: PoolUsage(size=10, open=4, checked_out=3, waiting=2))
    metrics.watch_pool("relay", lambda: PoolUsage(size=4, open=1, checked_out=0, waiting=0))

    names = ("size", "connections", "checked_out", "waiting")
    shown = {pool: [value(metrics, f"els_pool_{name}", pool=pool) for name in names] for pool in ("worker", "relay")}
    assert shown == {"worker": [10, 4, 3, 2], "relay": [4, 1, 0, 0]}


def test_figures_show_nothing_before_the_first_reading_rather_than_zero(metrics: Metrics) -> None:
    assert "huleedu_" not in generate_latest(metrics.registry).decode()

    metrics.figures(FIGURES)

    assert value(metrics, "huleedu_batches_active", class_type="REGULAR") == 4
    assert value(metrics, "huleedu_batches_completed", class_type="GUEST") == 5
    assert value(metrics, "batches_purged_total", class_type="GUEST") == 7
    assert value(metrics, "els_dead_letters", reason="not_json") == 2
    assert value(metrics, "els_pending_events", kind="content_provisioned") == 9
    assert value(metrics, "els_pending_oldest_seconds") == 61.5
    assert value(metrics, "els_outbox_rows") == 8
    assert value(metrics, "els_outbox_deferred_rows") == 1
    assert value(metrics, "els_outbox_oldest_seconds") == 2.5
    assert value(metrics, "els_purge_running") == 1
    assert value(metrics, "els_purge_last_batches") == 12
    assert value(metrics, "els_purge_last_started_timestamp_seconds") == 1.7e9
    assert value(metrics, "els_purge_last_finished") == 0


def test_the_age_of_the_figures_grows_until_they_are_read_again(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 130.0])
    monkeypatch.setattr(els_stream.observability.collectors, "monotonic", lambda: next(clock))
    metrics.figures(FIGURES)

    assert value(metrics, "els_stats_age_seconds") == 30


def test_names_that_dashboards_know_are_there_and_no_label_names_a_batch(metrics: Metrics) -> None:
    show_everything(metrics)
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]

    assert {sample.name for sample in samples} >= FIXED_NAMES
    assert {label for sample in samples for label in sample.labels} <= CLOSED


def test_every_metric_says_what_it_means(metrics: Metrics) -> None:
    show_everything(metrics)

    for family in metrics.registry.collect():
        assert family.documentation.endswith("."), family.name


def test_no_metric_is_made_anywhere_else() -> None:
    package = Path(els_stream.observability.metrics.__file__).parent
    makers = {
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("prometheus_client")
        if {alias.name for alias in node.names} & {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
    }

    assert makers == {"metrics.py"}


def test_the_intake_can_report_to_it(metrics: Metrics) -> None:
    reports: ConsumerMetrics = metrics

    reports.record_event(ConsumerEvent.REBALANCED)

    assert value(metrics, "els_consumer_events_total", event="rebalanced") == 1
