"""The fields of the settings: names, types, defaults, bounds and help texts.

Error messages, `els settings` and docs/settings.md are derived from them (see `settings_reference`).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from els_stream.config import setting_types as types
from els_stream.config import urls
from els_stream.config.kafka_fields import KafkaFields
from els_stream.config.settings_reference import Allowed

MIB = 1024 * 1024


class SettingFields(KafkaFields):
    """Base of `Settings`; use that class."""

    model_config = SettingsConfigDict(
        env_prefix="ELS_", env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    database_url: Annotated[types.DatabaseUrl | None, Allowed(urls.DATABASE)] = Field(
        None, description="URL of the PostgreSQL database; unset: the database that `els up` started."
    )
    database_url_file: Path | None = Field(
        None, description="File that holds the value of ELS_DATABASE_URL; it is read again for each connection."
    )
    servers: Annotated[Literal["embedded", "containers"], types.AnyCaseLower] = Field(
        "embedded",
        description="How `els up` starts servers that have no address: binaries from the venv, or Docker containers.",
    )
    state_dir: types.Folder = Field(
        Path(".els"),
        validate_default=True,
        description="Folder of the servers that `els up` starts, relative to the checkout.",
    )

    consumer_group: types.Name = Field(
        "essay-lifecycle-service",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Kafka consumer group; the database stores offsets under this name.",
    )
    topic_prefix: types.Prefix = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="Prefix of every topic name, so that environments can share a broker.",
    )
    topic_partitions: types.Number = Field(
        4, ge=1, le=1000, description="Number of partitions of topics that `els topics` creates."
    )
    topic_replication_factor: types.Number = Field(
        1,
        ge=1,
        le=10,
        description="Number of replicas of topics that `els topics` creates; unset with `els up --brokers 3`: 3.",
    )
    session_timeout_seconds: types.Seconds = Field(
        10,
        ge=1,
        le=300,
        description="The broker takes the partitions of a worker that sends no heartbeat for this long.",
    )
    heartbeat_interval_seconds: types.Seconds = Field(
        3, ge=0.1, le=60, description="Interval of heartbeats to the broker; less than the session timeout."
    )
    rebalance_timeout_seconds: types.Seconds = Field(
        30, ge=5, le=600, description="Time that a worker has in a rebalance to finish its micro-batches."
    )
    metadata_max_age_seconds: types.Seconds = Field(
        10,
        ge=1,
        le=600,
        description="Interval at which Kafka's metadata is read again, to find new partitions and leaders.",
    )
    commit_interval_seconds: types.Seconds = Field(
        1,
        ge=0.1,
        le=60,
        description="Interval at which offsets are committed to the Kafka group, for lag monitors only.",
    )

    micro_batch_records: types.Records = Field(
        1000, ge=1, le=10_000, description="Maximum number of records in a micro-batch, which is one transaction."
    )
    micro_batch_bytes: types.Bytes = Field(8 * MIB, ge=1024, le=256 * MIB, description="Maximum size of a micro-batch.")
    transactions_in_flight: types.Number = Field(
        2,
        ge=1,
        le=4,
        description="Maximum number of micro-batches per agent that are processed at the same time. While few records "
        "wait, another begins when only the commit of the last one is left, or after 50 ms.",
    )
    buffered_records_per_partition: types.Records = Field(
        4096,
        ge=1,
        le=100_000,
        description="Maximum number of fetched records that wait, per partition; then fetching pauses.",
    )
    buffered_bytes_per_partition: types.Bytes = Field(
        16 * MIB,
        ge=1024,
        le=1024 * MIB,
        description="Maximum size of the fetched records that wait, per partition; then fetching pauses.",
    )
    retry_initial_seconds: types.Seconds = Field(
        0.1, ge=0.001, le=60, description="Pause before the first retry of a micro-batch; it doubles with each retry."
    )
    retry_max_seconds: types.Seconds = Field(10, ge=0.01, le=600, description="Longest pause between two retries.")

    use_cte_upsert_assignment: bool | None = Field(
        None, description="Claim slots with Option A (one CTE on slot_assignments); default: off."
    )
    use_essay_states_as_inventory: bool | None = Field(
        None, description="Claim slots with Option B (in essay_states); default: on unless Option A is on."
    )
    use_advisory_locks_for_assignment: bool = Field(
        default=False,
        validation_alias="USE_ADVISORY_LOCKS_FOR_ASSIGNMENT",
        description="Take an advisory lock on (batch, content) before claiming a slot.",
    )

    pool_size: types.Number = Field(
        10,
        ge=4,
        le=200,
        description="Maximum number of database connections of a worker, not counting those of its relay and its page.",
    )
    database_connect_timeout_seconds: types.Seconds = Field(
        5, ge=0.1, le=60, description="Time limit for opening a database connection."
    )
    statement_timeout_seconds: types.Seconds = Field(
        10, ge=0.1, le=300, description="Time limit of a statement; less than the rebalance timeout."
    )
    lock_timeout_seconds: types.Seconds = Field(
        2, ge=0.05, le=60, description="Time limit of a wait for a lock; less than the rebalance timeout."
    )
    idle_in_transaction_timeout_seconds: types.Seconds = Field(
        3,
        ge=0.1,
        le=60,
        description="PostgreSQL rolls back transactions idle for this long; less than the rebalance timeout.",
    )

    relay_enabled: bool = Field(
        default=True, description="Publish the outbox from this worker; if false, `els relay` must run."
    )
    relay_poll_seconds: types.Seconds = Field(
        1, ge=0.01, le=60, description="Interval at which the relay polls the outbox if no notification arrives."
    )
    relay_fetch_rows: types.Rows = Field(
        2000, ge=1, le=20_000, description="About how many events of the outbox one query reads at most."
    )

    batch_deadline_hours: types.Hours = Field(
        72, ge=0.001, le=8760, description="A batch that is incomplete this long after its registration times out."
    )
    pending_retention_days: types.Days = Field(
        7,
        ge=1,
        le=365,
        description="Pending events whose batch is not registered within this time become dead letters.",
    )
    expiry_interval_seconds: types.Seconds = Field(
        30, ge=0.1, le=3600, description="Interval of the checks for passed deadlines and expired pending events."
    )
    repair_interval_seconds: types.Seconds = Field(
        300,
        ge=0.1,
        le=86_400,
        description="Interval of the checks of all batches for inconsistent counters, which are repaired.",
    )
    max_pending_per_batch: types.Records = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of pending events of a batch; further ones become dead letters.",
    )
    dead_letter_retention_days: types.Days = Field(
        90, ge=1, le=3650, description="Age at which dead letters are deleted."
    )

    purge_enabled: bool = Field(default=True, description="Purge old finished GUEST batches from this worker.")
    purge_interval_hours: types.Hours = Field(
        24, ge=0.0001, le=8760, description="Interval between purges, of all workers together."
    )
    purge_retention_days: types.Days = Field(
        14, ge=1, le=3650, description="Age at which finished GUEST batches are purged."
    )
    purge_abandoned_after_days: types.Days = Field(
        0, ge=0, le=3650, description="Age at which GUEST batches that never completed are purged; 0: never."
    )
    tombstone_retention_days: types.Days = Field(
        365,
        ge=7,
        le=3650,
        description="Age at which tombstones of purged batches are deleted; at least the input topics' retention.",
    )
    purge_chunk_batches: types.Number = Field(
        100, ge=1, le=10_000, description="Maximum number of batches purged in one transaction."
    )
    purge_pause_seconds: types.Seconds = Field(
        0.02, ge=0, le=60, description="Pause between two transactions of a purge, to limit its load."
    )

    web_host: types.Host = Field(
        "127.0.0.1",
        pattern=r"^[A-Za-z0-9.:_-]{1,253}$",
        description="Address that the web server listens on; beyond loopback a token is needed.",
    )
    web_port: types.Port = Field(
        6066, ge=0, le=65_535, description="Port of the web server: probes, metrics and page; 0: any free port."
    )
    liveness_stall_seconds: types.Seconds = Field(
        60,
        ge=1,
        le=3600,
        description="/livez fails if records wait and none is committed for this long without a known reason.",
    )
    web_token: Annotated[types.Token | None, Allowed(types.LONG_AND_PRINTABLE)] = Field(
        None, description="Password for the page and its JSON; required if the web server listens beyond loopback."
    )
    web_token_file: Path | None = Field(
        None, description="File that holds the value of ELS_WEB_TOKEN; it is read again for each request."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], types.AnyCaseLower] = Field(
        "info", description="Lowest level that is logged."
    )
    stats_interval_seconds: types.Seconds = Field(
        5,
        ge=0.1,
        le=3600,
        description="Interval at which the counts of all batches are read from the database, for metrics and page.",
    )
    tracing_endpoint: Annotated[types.HttpUrl | None, Allowed("http://host:port, or https://host/path")] = Field(
        None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="OTLP/HTTP endpoint for trace spans; unset: no tracing.",
    )
    log_format: Annotated[Literal["auto", "json", "console"], types.AnyCaseLower] = Field(
        "auto",
        description="json: one object per line; console: text for people; auto: console on a terminal, else json.",
    )
