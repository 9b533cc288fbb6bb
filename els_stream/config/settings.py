"""The settings of the service, read once at the start of the process from environment variables ELS_*.

`setting_fields` lists them; this module checks them against each other and loads them.
"""

import os
import sys
from pathlib import Path
from typing import Any, Self, TypeAlias

import structlog
from pydantic import SecretStr, TypeAdapter, ValidationError, model_validator

from els_stream.config import setting_types, urls
from els_stream.config.kafka_security import check_files, check_security, make_broker
from els_stream.config.kubernetes_variables import is_service_variable, service_warnings
from els_stream.config.renamed_settings import renamed_variables
from els_stream.config.secret_files import FILE_SUFFIX, read_secret, secret_names, with_secrets
from els_stream.config.setting_fields import SettingFields
from els_stream.config.settings_reference import explain, unknown_variables, variable
from els_stream.domain.claim_strategy import Strategy, choose_strategy
from els_stream.errors import ConfigurationError, ServersMissing
from els_stream.kafka.broker import Broker
from els_stream.postgres.address import AddressError

log = structlog.get_logger(__name__)

ShownValue: TypeAlias = str | int | float | None

_LESS_THAN = (
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


class Settings(SettingFields):
    """All settings of a process. Frozen; pass the whole object, not single values."""

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, object]) -> dict[str, object]:
        """Leave out what Kubernetes set under the name of a setting, and read the secrets that are in files."""
        own = {name: value for name, value in values.items() if not is_service_variable(name, value)}
        return with_secrets(own, {name: variable(cls, name) for name in secret_names(cls.model_fields)})

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for smaller, larger in _LESS_THAN:
            if getattr(self, smaller) >= getattr(self, larger):
                raise ValueError(self._message(smaller, f"must be below {self._with_value(larger)}"))
        for smaller, larger in _AT_MOST:
            if getattr(self, smaller) > getattr(self, larger):
                raise ValueError(self._message(smaller, f"must be at most {self._with_value(larger)}"))
        return self

    @model_validator(mode="after")
    def _check_kafka(self) -> Self:
        check_security(self)
        try:
            check_files(self, self.current_secret)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _check_strategy(self) -> Self:
        _ = self.strategy
        return self

    def _with_value(self, name: str) -> str:
        return f"{variable(type(self), name)} ({getattr(self, name)})"

    def _message(self, name: str, rule: str) -> str:
        value = getattr(self, name)
        shown = str(value).lower() if isinstance(value, bool) else value
        return f"{variable(type(self), name)}={shown}: {rule}"

    @property
    def strategy(self) -> Strategy:
        """The claim strategy of the two flags."""
        return choose_strategy(
            cte_upsert=self.use_cte_upsert_assignment, essay_states=self.use_essay_states_as_inventory
        )

    @property
    def broker(self) -> Broker:
        """How Kafka is reached; raises ServersMissing if no servers are set."""
        if self.broker_url is None:
            raise ServersMissing("no broker: set ELS_BROKER_URL, or start the embedded servers with `els up`")
        return make_broker(self, self.broker_url, self.current_secret)

    @property
    def database(self) -> str:
        """The URL for SQLAlchemy with its password as of now: never log it. Raises ServersMissing if it is not set."""
        url = self.current_secret("database_url")
        if url is None:
            raise ServersMissing("no database: set ELS_DATABASE_URL, or start the embedded servers with `els up`")
        return url

    def current_secret(self, name: str) -> str | None:
        """Return the secret of this field, read anew if it is in a file. Never log it.

        If the file can't be read now, or holds no valid value, this logs a warning and returns what was read at the
        start.
        """
        known: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, name + FILE_SUFFIX, None)
        if path is None:
            return None if known is None else known.get_secret_value()
        try:
            return _validated(type(self), name, read_secret(path))
        except ValueError as error:
            # A ValidationError's text holds the value.
            reason = "has no valid value" if isinstance(error, ValidationError) else str(error)
            log.warning("secret_file_ignored", variable=variable(type(self), name + FILE_SUFFIX), reason=reason)
            return None if known is None else known.get_secret_value()

    def with_servers(self, *, broker_url: str, database_url: str) -> Self:
        """Return the settings with these addresses for those that are not set.

        With several brokers topics get a replica on up to three, unless their number is set.
        """
        found: dict[str, object] = {}
        if self.broker_url is None:
            found["broker_url"] = urls.check_bootstrap(broker_url)
            if "topic_replication_factor" not in self.model_fields_set:
                found["topic_replication_factor"] = min(3, broker_url.count(",") + 1)
        if self.database_url is None:
            found["database_url"] = _checked_database_url(database_url)
        return self.model_copy(update=found)

    def masked(self) -> dict[str, ShownValue]:
        """Return the effective value of each variable, with secrets masked."""
        effective = {
            **{name: getattr(self, name) for name in type(self).model_fields},
            "use_cte_upsert_assignment": self.strategy is Strategy.OPTION_A,
            "use_essay_states_as_inventory": self.strategy is Strategy.OPTION_B,
        }
        return {variable(type(self), name): _shown(name, value) for name, value in effective.items()}


def _checked_database_url(url: str) -> SecretStr:
    try:
        return setting_types.database_url(SecretStr(url))
    except AddressError as error:  # libpq's variables count too
        raise ConfigurationError(f"the database's address: {error}") from None


def _validated(model: type[Settings], name: str, text: str) -> str:
    annotation: Any = model.model_fields[name].annotation
    adapter: TypeAdapter[SecretStr | None] = TypeAdapter(annotation)
    secret = adapter.validate_python(text)
    return "" if secret is None else secret.get_secret_value()


def _shown(name: str, value: object) -> ShownValue:
    if isinstance(value, SecretStr):
        # A password may look like a URL.
        return urls.mask_password(value.get_secret_value()) if name.endswith("_url") else urls.MASK
    return value if isinstance(value, str | int | float | None) else str(value)


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; `overrides` (by field name) take precedence.

    Warns on stderr about unknown variables and old names. Raises ConfigurationError with one line that names the first
    wrong variable and holds no secret.
    """
    renamed, warnings = renamed_variables(os.environ)
    services = service_warnings(Settings.model_config["env_prefix"], os.environ)
    for warning in [*warnings, *services, *unknown_variables(Settings, os.environ)]:
        sys.stderr.write(f"els: {warning}\n")
    try:
        return Settings.model_validate({**renamed, **overrides})
    except ValidationError as error:
        # Its text holds the whole input with the password: it must not become the cause of the new error.
        message = explain(Settings, error, os.environ)
    raise ConfigurationError(message)
