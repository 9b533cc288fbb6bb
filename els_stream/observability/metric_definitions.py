"""Every metric of a worker: its name, its help text, and its labels with their allowed values.

The documentation's table of metrics is made from these. Label values come from closed sets, never from an event.
Metrics read from the database have the same value in every worker: use `max by (...)` over workers, never `sum`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from els_stream.consumer.reporting import ConsumerEvent
from els_stream.db.errors import FailureClass
from els_stream.domain.outcomes import OUTCOME_LABELS
from els_stream.events.contract_fields import FIELDS, VALIDATION_CODE_FIELD
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.topics import INPUT_TOPICS, VALIDATION_FAILED
from els_stream.handlers.recount import RepairKind
from els_stream.maintenance.scheduler import TimerName
from els_stream.observability.health import Code
from els_stream.queries.stats import CLASS_TYPES, PENDING_KINDS

# Names of SQLSTATE classes (PostgreSQL's documentation, appendix A), and of errors without a SQLSTATE.
SQLSTATE_CLASSES: Final = {
    "08": "connection",
    "22": "data",
    "23": "constraint",
    "28": "authorization",
    "3D": "database_missing",
    "40": "rollback",
    "42": "schema",
    "53": "resources",
    "55": "lock",
    "57": "intervention",
    "58": "system",
    "XX": "internal",
}
DRIVER: Final = "driver"

# Bucket bounds of histograms.
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORDS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)

# Allowed values of a label that is bounded elsewhere: a partition by its topic, a version by the installed package.
ANY: Final = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric; a counter's name is without the suffix `_total`."""

    name: str
    help: str
    labels: Mapping[str, Collection[str]] = field(default_factory=dict)


_TOPIC: Final = {"topic": INPUT_TOPICS}
_CLASS_TYPE: Final = {"class_type": CLASS_TYPES}
_POOL: Final = {"pool": ANY}

# Counters and histograms of the consumer and the timers.
EVENTS: Final = Definition(
    "els_events", "Input events of committed micro-batches, by outcome.", _TOPIC | {"outcome": sorted(OUTCOME_LABELS)}
)
BATCH_FAILURES: Final = Definition(
    "els_batch_failures",
    "Failed attempts to process a micro-batch, by failure class; transient ones are retried without limit.",
    _TOPIC | {"class": list(FailureClass)},
)
BATCH_FAILURE_CAUSES: Final = Definition(
    "els_batch_failure_causes",
    "Failed attempts to process a micro-batch, by class of the SQLSTATE; driver: an error without one.",
    {"class": list(FailureClass), "cause": [*SQLSTATE_CLASSES.values(), DRIVER]},
)
CONSUMER_DEAD_LETTERS: Final = Definition(
    "els_consumer_dead_letters",
    "Dead letters of records that failed alone; those that a handler refuses are outcomes of els_events_total.",
    _TOPIC | {"reason": [DeadLetterReason.DATABASE_REFUSED, DeadLetterReason.UNPROCESSABLE]},
)
CONTRACT_VIOLATIONS: Final = Definition(
    "els_contract_violations",
    "Dead letters of records that break their contract, by the first field at fault; (value): the whole record.",
    {"topic": list(FIELDS), "field": sorted(frozenset[str]().union(*FIELDS.values()))},
)
UNKNOWN_VALUES: Final = Definition(
    "els_unknown_values",
    "Events that were applied though a field has a value that this release does not know.",
    {"topic": [VALIDATION_FAILED], "field": [VALIDATION_CODE_FIELD]},
)
CONSUMER_EVENTS: Final = Definition(
    "els_consumer_events",
    "Rebalances, paused partitions, fetch and commit errors, and differences between Kafka and the stored offsets.",
    {"event": list(ConsumerEvent)},
)
TIMER_ITEMS: Final = Definition(
    "els_timer_items",
    "Batches timed out, repaired or purged, pending events expired and dead letters deleted by this worker's timers.",
    {"timer": list(TimerName)},
)
TIMER_FAILURES: Final = Definition(
    "els_timer_failures", "Timer runs that failed; the timer runs again.", {"timer": list(TimerName)}
)
BATCH_RECORDS: Final = Definition("els_micro_batch_records", "Records of a committed micro-batch.", _TOPIC)
BATCH_SECONDS: Final = Definition(
    "els_micro_batch_seconds", "Seconds of a micro-batch, from its first statement to the end of its commit.", _TOPIC
)
HANDLER_SECONDS: Final = Definition(
    "els_handler_seconds",
    "Seconds of a micro-batch's handler: it reads, claims slots and writes outbox events.",
    _TOPIC,
)
COMMIT_SECONDS: Final = Definition("els_commit_seconds", "Seconds of a micro-batch's commit.", _TOPIC)
END_TO_END_SECONDS: Final = Definition(
    "els_end_to_end_seconds", "Seconds from an input record's timestamp to the broker's ack of an event it caused."
)

# Values read from their source at each scrape.
BUILD_INFO: Final = Definition(
    "els_build_info", "Always 1; the labels hold the versions.", {"version": ANY, "python": ANY}
)
LOOP_TASKS: Final = Definition("els_event_loop_tasks", "Tasks of the worker's event loop; flat unless some never end.")
NOT_READY: Final = Definition(
    "els_not_ready", "1 while `/readyz` or `/livez` of this worker gives this reason, else 0.", {"code": list(Code)}
)
LAG_RECORDS: Final = Definition(
    "els_lag_records",
    "Records that can be read and are not yet processed, of the partitions of this worker.",
    _TOPIC | {"partition": ANY},
)
UNREADABLE_RECORDS: Final = Definition(
    "els_unreadable_records",
    "Records that can't be read before an upstream transaction ends, of the partitions of this worker.",
    _TOPIC | {"partition": ANY},
)
OPEN_TRANSACTION_SECONDS: Final = Definition(
    "els_open_transaction_seconds",
    "How long the upstream transaction at the end of the readable records has been open; 0 without one.",
    _TOPIC | {"partition": ANY},
)
REPAIRS: Final = Definition(
    "els_repairs",
    "Inconsistent batches that were repaired, by kind; unrepairable: found and left as they are.",
    {"kind": list(RepairKind)},
)
SPANS_GIVEN_UP: Final = Definition(
    "els_spans_given_up", "Trace spans that the collector did not accept, or that found the queue to it full."
)
LOG_LINES_DROPPED: Final = Definition(
    "els_log_lines_dropped", "Log lines that were never written, since nothing read the log or its disk was full."
)
RELAY_SHARDS: Final = Definition("els_relay_shards", "Outbox shards that this worker's relay has leased.")
RELAY_MEMBERS: Final = Definition("els_relay_members", "Relays that share the outbox, as this one last read.")
RELAY_IN_FLIGHT: Final = Definition("els_relay_in_flight", "Events sent and not yet acknowledged by the broker.")
RELAY_FAILING: Final = Definition("els_relay_failing_components", "Components of the relay that fail at the moment.")
RELAY_ACKED: Final = Definition("els_relay_acked", "Events that the broker acknowledged.")
RELAY_REJECTED: Final = Definition("els_relay_rejected", "Events that the broker or the client rejected; see the log.")
POOL_SIZE: Final = Definition("els_pool_size", "Most database connections of a pool of this worker.", _POOL)
POOL_CONNECTIONS: Final = Definition("els_pool_connections", "Open connections of a pool.", _POOL)
POOL_CHECKED_OUT: Final = Definition("els_pool_checked_out", "Connections in use.", _POOL)
POOL_WAITING: Final = Definition(
    "els_pool_waiting", "Tasks that wait for a connection, also for one that is being opened.", _POOL
)

# Values read from the database every ELS_STATS_INTERVAL_SECONDS.
BATCHES_ACTIVE: Final = Definition("huleedu_batches_active", "Batches registered and not completed.", _CLASS_TYPE)
BATCHES_COMPLETED: Final = Definition("huleedu_batches_completed", "Completed batches not yet purged.", _CLASS_TYPE)
BATCHES_PURGED: Final = Definition("batches_purged", "Batches ever purged or erased.", _CLASS_TYPE)
PENDING_EVENTS: Final = Definition(
    "els_pending_events", "Events that wait for the registration of their batch, by kind.", {"kind": PENDING_KINDS}
)
PENDING_OLDEST: Final = Definition("els_pending_oldest_seconds", "Age of the oldest pending event; 0 without one.")
DEAD_LETTERS: Final = Definition(
    "els_dead_letters", "Dead letters neither replayed nor discarded, by reason.", {"reason": list(DeadLetterReason)}
)
OUTBOX_ROWS: Final = Definition("els_outbox_rows", "Events in the outbox, not yet published; counted up to 100 000.")
OUTBOX_DEFERRED: Final = Definition(
    "els_outbox_deferred_rows", "Events that were rejected and wait for their next attempt."
)
OUTBOX_OLDEST: Final = Definition("els_outbox_oldest_seconds", "Age of the oldest event in the outbox; 0 without one.")
STATS_AGE: Final = Definition("els_stats_age_seconds", "Seconds since these values were read from the database.")
PURGE_RUNNING: Final = Definition("els_purge_running", "1 while a purge runs in any process, else 0.")
PURGE_LAST_BATCHES: Final = Definition("els_purge_last_batches", "Batches that the last purge deleted so far.")
PURGE_LAST_STARTED: Final = Definition(
    "els_purge_last_started_timestamp_seconds", "Start of the last purge, in seconds since the epoch."
)
PURGE_LAST_FINISHED: Final = Definition(
    "els_purge_last_finished", "1 if the last purge ended; 0 if it still runs or was interrupted."
)
