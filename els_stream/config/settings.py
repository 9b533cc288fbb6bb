"""The settings: read once, where the process starts, from environment variables that begin with ELS_.

The class is the only list of them. Units and bounds are data, so that messages, `els settings` and the README's
table are made from it (see settings_reference).
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from els_stream.config import setting_types as kinds
from els_stream.config import urls
from els_stream.config.renamed_settings import renamed_variables
from els_stream.config.settings_reference import Allowed, explain, unknown_variables, variable
from els_stream.domain.claim_strategy import SlotTable, Strategy, choose_strategy, slot_table_of
from els_stream.errors import ConfigurationError, ServersMissing

MIB = 1024 * 1024

Shown: TypeAlias = str | int | float | None

_BELOW = (
    ("heartbeat_interval_seconds", "session_timeout_seconds"),
    ("statement_timeout_seconds", "rebalance_timeout_seconds"),
    ("lock_timeout_seconds", "rebalance_timeout_seconds"),
    ("idle_in_transaction_timeout_seconds", "rebalance_timeout_seconds"),
)
_AT_MOST = (
    ("retry_initial_seconds", "retry_max_seconds"),
    ("micro_batch_records", "buffered_records_per_partition"),
    ("micro_batch_bytes", "buffered_bytes_per_partition"),
)


class Settings(BaseSettings):
    """One frozen value; what takes part of it takes the whole."""

    model_config = SettingsConfigDict(
        env_prefix="ELS_", env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    broker_url: Annotated[kinds.Bootstrap | None, Allowed(urls.BOOTSTRAP)] = Field(
        None, description="Kafka's bootstrap servers, host:port[,host:port]; unset: the running embedded broker."
    )
    database_url: Annotated[kinds.DatabaseUrl | None, Allowed(urls.DATABASE)] = Field(
        None, description="PostgreSQL's address, postgresql://user:password@host:port/name; unset: the embedded one."
    )
    servers: Literal["embedded", "containers"] = Field(
        "embedded", description="What starts a server that no address names: binaries in the venv, or Docker."
    )
    state_dir: kinds.Folder = Field(
        Path(".els"), validate_default=True, description="Folder of the embedded servers; relative to the checkout."
    )

    consumer_group: kinds.Name = Field(
        "essay-lifecycle-service",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Kafka consumer group; the ledger of handled offsets is kept under this name.",
    )
    topic_prefix: kinds.Prefix = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="Put before every topic name, to share one broker."
    )
    topic_partitions: kinds.Number = Field(
        4, ge=1, le=1000, description="Partitions of a topic that `els topics` creates."
    )
    topic_replication_factor: kinds.Number = Field(1, ge=1, le=10, description="Copies of a topic that it creates.")
    session_timeout_seconds: kinds.Seconds = Field(
        10, ge=1, le=300, description="A worker unheard of for this long loses its partitions."
    )
    heartbeat_interval_seconds: kinds.Seconds = Field(
        3, ge=0.1, le=60, description="Pause between signs of life to the broker; below the session timeout."
    )
    rebalance_timeout_seconds: kinds.Seconds = Field(
        30, ge=5, le=600, description="How long the group waits for a worker to finish what it has in hand."
    )
    metadata_max_age_seconds: kinds.Seconds = Field(
        10, ge=1, le=600, description="How soon new partitions and moved leaders are noticed."
    )
    commit_interval_seconds: kinds.Seconds = Field(
        1, ge=0.1, le=60, description="Pause between the group offsets that tell lag monitors where we are."
    )

    micro_batch_records: kinds.Records = Field(1000, ge=1, le=10_000, description="Most records in one transaction.")
    micro_batch_bytes: kinds.Bytes = Field(8 * MIB, ge=1024, le=256 * MIB, description="Most bytes in one transaction.")
    transactions_in_flight: kinds.Number = Field(
        2, ge=1, le=4, description="Micro-batches that one worker commits at once."
    )
    buffered_records_per_partition: kinds.Records = Field(
        4096, ge=1, le=100_000, description="Most records waiting, for each partition."
    )
    buffered_bytes_per_partition: kinds.Bytes = Field(
        16 * MIB, ge=1024, le=1024 * MIB, description="Most bytes waiting, for each partition."
    )
    retry_initial_seconds: kinds.Seconds = Field(
        0.1, ge=0.001, le=60, description="First pause before a micro-batch that might work later is tried again."
    )
    retry_max_seconds: kinds.Seconds = Field(10, ge=0.01, le=600, description="Longest pause between two tries.")

    use_cte_upsert_assignment: bool | None = Field(None, description="Claim slots with Option A.")
    use_essay_states_as_inventory: bool | None = Field(
        None, description="Claim slots with Option B, the hot path; on unless Option A is."
    )
    use_advisory_locks_for_assignment: bool = Field(
        default=False,
        validation_alias="USE_ADVISORY_LOCKS_FOR_ASSIGNMENT",
        description="Take an advisory lock on (batch, content) before a claim.",
    )

    pool_size: kinds.Number = Field(
        10,
        ge=4,
        le=200,
        description="Most database connections of one worker, besides those of its relay and its page.",
    )
    database_connect_timeout_seconds: kinds.Seconds = Field(
        5, ge=0.1, le=60, description="A database that accepts no connection for this long counts as away."
    )
    statement_timeout_seconds: kinds.Seconds = Field(
        10, ge=0.1, le=300, description="Longest statement; below the rebalance timeout."
    )
    lock_timeout_seconds: kinds.Seconds = Field(
        2, ge=0.05, le=60, description="Longest wait for a lock; below the rebalance timeout."
    )
    idle_in_transaction_timeout_seconds: kinds.Seconds = Field(
        3, ge=0.1, le=60, description="A stopped worker keeps its locks for this long; below the rebalance timeout."
    )

    relay_enabled: bool = Field(default=True, description="Send the outbox from this worker; if not, by `els relay`.")
    relay_poll_seconds: kinds.Seconds = Field(
        1, ge=0.01, le=60, description="Pause between looks at the outbox when no commit wakes the relay."
    )
    relay_fetch_rows: kinds.Rows = Field(2000, ge=1, le=20_000, description="Most outbox rows read at once.")

    batch_deadline_hours: kinds.Hours = Field(
        72, ge=0.001, le=8760, description="A batch still incomplete this long after its registration times out."
    )
    pending_retention_days: kinds.Days = Field(
        7, ge=1, le=365, description="What is parked for a batch that never registers then becomes a dead letter."
    )
    expiry_interval_seconds: kinds.Seconds = Field(
        30, ge=0.1, le=3600, description="Pause between looks for passed deadlines and for what is parked too long."
    )
    repair_interval_seconds: kinds.Seconds = Field(
        300, ge=0.1, le=86_400, description="Pause between walks over all batches that heal what a bug may leave."
    )
    max_pending_per_batch: kinds.Records = Field(
        20_000, ge=1, le=1_000_000, description="Parked for one batch; what comes beyond is a dead letter."
    )
    dead_letter_retention_days: kinds.Days = Field(
        90, ge=1, le=3650, description="Dead letters are kept for this long."
    )

    purge_enabled: bool = Field(default=True, description="Purge finished GUEST batches from this worker, when due.")
    purge_interval_hours: kinds.Hours = Field(
        24, ge=0.0001, le=8760, description="Pause between two purges, over all workers."
    )
    purge_retention_days: kinds.Days = Field(
        14, ge=1, le=3650, description="Finished GUEST batches are kept for this long."
    )
    purge_abandoned_after_days: kinds.Days = Field(
        0, ge=0, le=3650, description="GUEST batches that never completed go after this long; 0: never."
    )
    tombstone_retention_days: kinds.Days = Field(
        365,
        ge=7,
        le=3650,
        description="Late events of a purged batch are known for so long; at least the input topics' retention.",
    )
    purge_chunk_batches: kinds.Number = Field(100, ge=1, le=10_000, description="Most batches purged in a transaction.")
    purge_pause_seconds: kinds.Seconds = Field(
        0.02, ge=0, le=60, description="Pause between two transactions of a purge."
    )

    web_host: kinds.Host = Field(
        "127.0.0.1", pattern=r"^[A-Za-z0-9.:_-]{1,253}$", description="Address the web port is bound to."
    )
    web_port: kinds.Port = Field(
        6066, ge=0, le=65_535, description="Port of health, metrics and dashboard; 0: any free one."
    )
    liveness_stall_seconds: kinds.Seconds = Field(
        60, ge=1, le=3600, description="/livez fails when records wait, none moved for so long and nothing explains it."
    )
    web_token: Annotated[kinds.Token | None, Allowed(kinds.LONG_AND_PRINTABLE)] = Field(
        None, description="Asked of whoever wants more than probes and metrics; needed beyond loopback."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line logged.")
    stats_interval_seconds: kinds.Seconds = Field(
        5, ge=0.1, le=3600, description="Pause between two readings of what metrics and page say of all batches."
    )
    tracing_endpoint: kinds.HttpUrl | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Where spans are sent, by OTLP over HTTP; unset: nothing is traced.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="One JSON object a line, or text for people; auto: text on a terminal, else JSON."
    )

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        for smaller, larger in _BELOW:
            if getattr(self, smaller) >= getattr(self, larger):
                raise ValueError(self._complaint(smaller, f"must be below {self._named(larger)}"))
        for smaller, larger in _AT_MOST:
            if getattr(self, smaller) > getattr(self, larger):
                raise ValueError(self._complaint(smaller, f"must be at most {self._named(larger)}"))
        return self

    @model_validator(mode="after")
    def _refuse_two_strategies(self) -> Self:
        _ = self.strategy
        return self

    def _named(self, name: str) -> str:
        return f"{variable(type(self), name)} ({getattr(self, name)})"

    def _complaint(self, name: str, what: str) -> str:
        value = getattr(self, name)
        shown = str(value).lower() if isinstance(value, bool) else value
        return f"{variable(type(self), name)}={shown}: {what}"

    @property
    def strategy(self) -> Strategy:
        return choose_strategy(
            cte_upsert=self.use_cte_upsert_assignment, essay_states=self.use_essay_states_as_inventory
        )

    @property
    def inventory(self) -> SlotTable:
        """Where the slots of batches registered from now on live."""
        return slot_table_of(self.strategy)

    @property
    def broker(self) -> str:
        """The bootstrap servers; raises ServersMissing when there are none."""
        if self.broker_url is None:
            raise ServersMissing("no broker: set ELS_BROKER_URL, or start the embedded servers with `els up`")
        return self.broker_url

    @property
    def database(self) -> str:
        """SQLAlchemy's URL with the driver and the password: never log it. Raises ServersMissing without one."""
        if self.database_url is None:
            raise ServersMissing("no database: set ELS_DATABASE_URL, or start the embedded servers with `els up`")
        return self.database_url.get_secret_value()

    def with_servers(self, *, broker_url: str, database_url: str) -> Self:
        """These addresses where the settings name none."""
        found: dict[str, object] = {}
        if self.broker_url is None:
            found["broker_url"] = urls.check_bootstrap(broker_url)
        if self.database_url is None:
            found["database_url"] = kinds.database_url(SecretStr(database_url))
        return self.model_copy(update=found)

    def masked(self) -> dict[str, Shown]:
        """Each variable with its effective value; fit to be printed."""
        effective = {
            **{name: getattr(self, name) for name in type(self).model_fields},
            "use_cte_upsert_assignment": self.strategy is Strategy.OPTION_A,
            "use_essay_states_as_inventory": self.strategy is Strategy.OPTION_B,
        }
        return {variable(type(self), name): _shown(value) for name, value in effective.items()}


def _shown(value: object) -> Shown:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return urls.mask_password(secret) if "://" in secret else urls.MASK
    return value if isinstance(value, str | int | float | None) else str(value)


def load_settings(**overrides: object) -> Settings:
    """The environment, then `overrides` over it. Warns on stderr about variables that nothing reads.

    Raises ConfigurationError with one line that names the first wrong variable; a secret is never part of it.
    """
    renamed, warnings = renamed_variables(os.environ)
    for warning in [*warnings, *unknown_variables(Settings, os.environ)]:
        sys.stderr.write(f"els: {warning}\n")
    try:
        return Settings.model_validate({**renamed, **overrides})
    except ValidationError as error:
        # Its own text holds the whole input, the password too: it must not travel on as a cause.
        message = explain(Settings, error)
    raise ConfigurationError(message)
