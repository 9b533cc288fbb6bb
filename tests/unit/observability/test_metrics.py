from __future__ import annotations

import ast
import asyncio
import time
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import els_stream.observability.metrics
from els_stream.consumer.reporting import BatchTimings, ConsumerEvent, ConsumerMetrics
from els_stream.db.engine import PoolUsage
from els_stream.events.input_timestamp import truncate_timestamp
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.kafka.offsets import PartitionLag
from els_stream.observability.metrics import Metrics
from els_stream.queries.outbox_rows import WaitingRow
from els_stream.queries.stats import PurgeStats, Stats
from els_stream.relay import RelayStatus

STATS = Stats(
    active={"GUEST": 3, "REGULAR": 4},
    completed={"GUEST": 5, "REGULAR": 6},
    purged={"GUEST": 7, "REGULAR": 0},
    dead_letters={"not_json": 2},
    pending={"content_provisioned": 9},
    pending_oldest_seconds=61.5,
    outbox_rows=8,
    outbox_deferred=1,
    outbox_oldest_seconds=2.5,
    purge=PurgeStats(running=True, batches=12, started_at=1.7e9, finished=False),
)
# Labels with a closed set of values; a partition is bounded by its topic, a version by the installed package.
BOUNDED_LABELS = {
    "topic",
    "outcome",
    "class",
    "event",
    "cause",
    "reason",
    "code",
    "field",
    "kind",
    "timer",
    "class_type",
    "pool",
    "partition",
    "version",
    "python",
    "le",
}
PLATFORM_NAMES = {"huleedu_batches_active", "huleedu_batches_completed", "batches_purged_total"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), {"register_batch": BATCH_REGISTERED, "assign_content": CONTENT_PROVISIONED})


def show_everything(metrics: Metrics) -> None:
    metrics.add_stats(lambda: (STATS, 0.0))
    metrics.add_spans(lambda: 0)
    metrics.add_log_lines(lambda: 0)
    metrics.add_relay(lambda: RelayStatus(0, 1, 0, acked=0, rejected=0, errors={}))
    metrics.add_lag(lambda: [PartitionLag(CONTENT_PROVISIONED, 0, 0)])
    metrics.add_pool("worker", lambda: PoolUsage(10, 4, 3, 2))


def waiting(timestamp: int | None) -> WaitingRow:
    return WaitingRow(0, "batch", UUID(int=1), "topic", None, None, b"[]", 0, timestamp)


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


def test_histograms_have_a_series_for_each_topic_before_the_first_micro_batch(metrics: Metrics) -> None:
    """Otherwise a rate would not see the first one."""
    for topic in (BATCH_REGISTERED, CONTENT_PROVISIONED):
        assert value(metrics, "els_micro_batch_seconds_count", topic=topic) == 0
        assert value(metrics, "els_handler_seconds_bucket", topic=topic, le="+Inf") == 0


def test_end_to_end_latency_is_from_the_record_timestamp_to_the_ack(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_764_000_000_000
    monkeypatch.setattr(time, "time", lambda: now / 1000)

    metrics.record_acks([waiting(truncate_timestamp(now - age)) for age in (40, 40, 90_000)], now)
    metrics.record_acks([waiting(None)], now)

    assert value(metrics, "els_end_to_end_seconds_bucket", le="0.025") == 0
    assert value(metrics, "els_end_to_end_seconds_bucket", le="0.05") == 2
    assert value(metrics, "els_end_to_end_seconds_bucket", le="60.0") == 2
    assert value(metrics, "els_end_to_end_seconds_count") == 3
    assert value(metrics, "els_end_to_end_seconds_sum") == pytest.approx(90.08)


def test_all_latencies_have_buckets_from_a_millisecond_to_a_minute(metrics: Metrics) -> None:
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


def test_an_unexpected_label_value_is_counted_as_other(metrics: Metrics) -> None:
    for number in range(100):
        metrics.record_batch(f"agent-{number}", {f"batch-{number}": 1}, records=1, timings=BatchTimings(0.1, 0.1, 0.1))
        metrics.record_failure(f"agent-{number}", f"class-{number}", f"Error{number}")
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
        ("23505 pk_dead_letters", "constraint"),
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


def test_every_consumer_event_has_a_series(metrics: Metrics) -> None:
    for occurrence in ConsumerEvent:
        metrics.record_event(occurrence, 2)

    assert {value(metrics, "els_consumer_events_total", event=event) for event in ConsumerEvent} == {2}


def test_lag_is_read_at_each_scrape(metrics: Metrics) -> None:
    lag = [PartitionLag(CONTENT_PROVISIONED, 3, 42)]
    metrics.add_lag(lambda: lag)
    assert value(metrics, "els_lag_records", topic=CONTENT_PROVISIONED, partition="3") == 42

    lag.clear()

    assert value(metrics, "els_lag_records", topic=CONTENT_PROVISIONED, partition="3") is None


def test_a_worker_without_a_relay_has_no_relay_metrics(metrics: Metrics) -> None:
    assert value(metrics, "els_relay_shards") is None

    metrics.add_relay(lambda: RelayStatus(32, 2, 5, acked=100, rejected=1, errors={"publisher": "KafkaTimeoutError"}))

    assert value(metrics, "els_relay_shards") == 32
    assert value(metrics, "els_relay_members") == 2
    assert value(metrics, "els_relay_in_flight") == 5
    assert value(metrics, "els_relay_acked_total") == 100
    assert value(metrics, "els_relay_rejected_total") == 1
    assert value(metrics, "els_relay_failing_components") == 1


def test_each_pool_is_read_at_each_scrape(metrics: Metrics) -> None:
    metrics.add_pool("worker", lambda: PoolUsage(size=10, open=4, checked_out=3, waiting=2))
    metrics.add_pool("relay", lambda: PoolUsage(size=4, open=1, checked_out=0, waiting=0))

    names = ("size", "connections", "checked_out", "waiting")
    shown = {pool: [value(metrics, f"els_pool_{name}", pool=pool) for name in names] for pool in ("worker", "relay")}
    assert shown == {"worker": [10, 4, 3, 2], "relay": [4, 1, 0, 0]}


async def test_tasks_of_the_event_loop_are_counted_at_each_scrape(metrics: Metrics) -> None:
    before = value(metrics, "els_event_loop_tasks")
    assert before is not None
    another = asyncio.create_task(asyncio.Event().wait())

    assert value(metrics, "els_event_loop_tasks") == before + 1

    another.cancel()


def test_without_an_event_loop_there_is_no_number_of_tasks(metrics: Metrics) -> None:
    assert value(metrics, "els_event_loop_tasks") is None


def test_the_process_has_its_usual_metrics(metrics: Metrics) -> None:
    assert (value(metrics, "process_resident_memory_bytes") or 0) > 1_000_000
    assert (value(metrics, "process_open_fds") or 0) > 2


def test_without_stats_there_are_no_metrics_of_them(metrics: Metrics) -> None:
    """A zero would be wrong, and trigger alerts."""
    latest: list[tuple[Stats, float]] = []
    metrics.add_stats(lambda: latest[0] if latest else None)
    assert "huleedu_" not in generate_latest(metrics.registry).decode()

    latest.append((STATS, 0.0))

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


def test_the_age_of_the_stats_is_that_of_their_source(metrics: Metrics) -> None:
    metrics.add_stats(lambda: (STATS, 30.0))

    assert value(metrics, "els_stats_age_seconds") == 30


def test_names_of_the_platform_exist_and_all_labels_are_bounded(metrics: Metrics) -> None:
    show_everything(metrics)
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]

    assert {sample.name for sample in samples} >= PLATFORM_NAMES
    assert {label for sample in samples for label in sample.labels} <= BOUNDED_LABELS


def test_every_metric_has_a_help_text(metrics: Metrics) -> None:
    show_everything(metrics)

    for family in metrics.registry.collect():
        assert family.documentation.endswith("."), family.name


def test_only_the_metrics_module_creates_metrics() -> None:
    package = Path(els_stream.observability.metrics.__file__).parent
    makers = {
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("prometheus_client")
        if {alias.name for alias in node.names} & {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
    }

    assert makers == {"metrics.py"}


def test_metrics_implement_the_interface_of_the_consumer(metrics: Metrics) -> None:
    consumer_metrics: ConsumerMetrics = metrics

    consumer_metrics.record_event(ConsumerEvent.REBALANCED)

    assert value(metrics, "els_consumer_events_total", event="rebalanced") == 1
