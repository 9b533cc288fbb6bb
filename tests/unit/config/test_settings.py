"""Settings are read, validated and shown as their fields define it, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from els_stream.config.renamed_settings import RENAMED
from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings, load_settings
from els_stream.config.settings_reference import SettingRow, rows
from els_stream.domain.claim_strategy import SlotTable, Strategy, slot_table_of
from els_stream.errors import ConfigurationError, ServersMissing
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.topics import TOPICS

DATABASE = "postgresql://ada:s3cr3t@db.school:5432/essays"
RANGES = [row for row in rows(Settings) if " from " in row.allowed and row.allowed.startswith(("a whole", "a number"))]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows(Settings):
        monkeypatch.delenv(row.variable, raising=False)


def error_text() -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return str(caught.value)


def test_defaults_listen_on_loopback() -> None:
    settings = load_settings()

    assert settings.web_host == "127.0.0.1"
    assert slot_table_of(settings.strategy) is SlotTable.ESSAY_STATES
    assert settings.state_dir == CHECKOUT / ".els"


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_WEB_PORT", "")

    assert load_settings().web_port == 6066


def test_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_WEB_PORT", "7000")

    assert load_settings(web_port=7001).web_port == 7001


def test_the_state_folder_does_not_depend_on_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings().state_dir == CHECKOUT / ".els"
    assert load_settings(state_dir=tmp_path).state_dir == tmp_path


@pytest.mark.parametrize("row", RANGES, ids=lambda row: row.variable)
@pytest.mark.parametrize("value", ["-1", "1e99", "many", "nan"])
def test_number_out_of_bounds_is_refused_in_one_line(
    row: SettingRow, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(row.variable, value)

    assert error_text() == f"{row.variable}='{value}': must be {row.allowed}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ELS_BROKER_URL", "localhost"),
        ("ELS_BROKER_URL", "localhost:0"),
        ("ELS_BROKER_URL", "a:9092,,b:9092"),
        ("ELS_BROKER_URL", "kafka://a:9092"),
        ("ELS_SERVERS", "cloud"),
        ("ELS_CONSUMER_GROUP", "our group"),
        ("ELS_TOPIC_PREFIX", "åsa."),
        ("ELS_RELAY_ENABLED", "perhaps"),
        ("ELS_USE_CTE_UPSERT_ASSIGNMENT", "2"),
        ("ELS_LOG_LEVEL", "loud"),
        ("ELS_LOG_FORMAT", "xml"),
        ("ELS_WEB_HOST", "not a host"),
    ],
)
def test_a_wrong_value_is_reported_with_the_allowed_ones(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    text = error_text()

    assert text.startswith(f"{variable}={value!r}: must be ")
    assert "\n" not in text


def test_choices_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"ELS_LOG_LEVEL": "INFO", "ELS_LOG_FORMAT": "Json", "ELS_SERVERS": "Embedded"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ELS_KAFKA_SECURITY_PROTOCOL", "ssl")

    settings = load_settings()

    assert (settings.log_level, settings.log_format, settings.servers) == ("info", "json", "embedded")
    assert settings.kafka_security_protocol == "SSL"


def test_blanks_around_the_database_url_are_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_DATABASE_URL", " postgresql://ada@db/essays \n")

    assert load_settings(broker_url="a:9092").database == "postgresql+asyncpg://ada@db/essays"


def test_a_wrong_tracing_endpoint_is_reported_with_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_TRACING_ENDPOINT", "collector:4318")

    assert error_text() == "ELS_TRACING_ENDPOINT='collector:4318': must be http://host:port, or https://host/path"


def test_a_long_value_with_line_breaks_is_reported_on_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_WEB_PORT", "no\nport\n" * 500)

    text = error_text()

    assert "\n" not in text
    assert len(text) < 200


def test_two_errors_are_reported_as_the_first_and_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_POOL_SIZE", "0")
    monkeypatch.setenv("ELS_WEB_PORT", "-1")

    assert error_text() == "ELS_POOL_SIZE='0': must be a whole number from 4 to 200 (and 1 more)"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:s3cr3t@db/essays",
        "postgresql://ada:s3cr3t@db",
        "postgresql://ada:s3cr3t@db:port/essays",
        "postgresql://ada:s3cr3t/more@db/essays",
        "postgresql://ada:12/s3cr3t@db/essays",
        "postgresql://ada:12?s3cr3t@db/essays",
        "postgresql://ada:12#s3cr3t@db/essays",
        "ada:s3cr3t@db/essays",
        "s3cr3t",
    ],
)
def test_a_wrong_database_url_is_reported_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_DATABASE_URL", url)

    with pytest.raises(ConfigurationError) as caught:
        load_settings()

    assert str(caught.value).startswith("ELS_DATABASE_URL=")
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("wrong", ["short", "sixteen and spaces", "åäö-åäö-åäö-åäö-åäö", "x" * 256])
def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("ELS_WEB_TOKEN", wrong)
    with pytest.raises(ConfigurationError, match=r"ELS_WEB_TOKEN=\*\*\*: must be 16 to 255") as caught:
        load_settings()
    assert wrong not in str(caught.value)

    monkeypatch.setenv("ELS_WEB_TOKEN", "a-token-of-enough-length")
    assert load_settings().masked()["ELS_WEB_TOKEN"] == "***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (DATABASE, "postgresql+asyncpg://ada:***@db.school:5432/essays"),
        ("postgresql+asyncpg://db/essays", "postgresql+asyncpg://db/essays"),
        ("postgresql://ada:a%2Fb@[::1]/essays", "postgresql+asyncpg://ada:***@[::1]/essays"),
        ("postgresql://db/essays?password=s3cr3t", "postgresql+asyncpg://db/essays?password=***"),
    ],
)
def test_password_is_masked_wherever_settings_are_shown(url: str, shown: str) -> None:
    settings = load_settings(database_url=url)

    assert settings.masked()["ELS_DATABASE_URL"] == shown
    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in str(settings)


def test_database_address_names_the_driver() -> None:
    assert load_settings(database_url=DATABASE).database == DATABASE.replace("postgresql", "postgresql+asyncpg", 1)


def test_a_missing_address_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(ServersMissing, match="els up"):
        _ = load_settings().database
    with pytest.raises(ServersMissing, match="ELS_BROKER_URL"):
        _ = load_settings().broker


def test_running_servers_replace_only_addresses_that_are_not_set() -> None:
    settings = load_settings(broker_url="kafka.school:9092").with_servers(
        broker_url="127.0.0.1:1", database_url="postgresql://els@127.0.0.1:2/els"
    )

    assert str(settings.broker) == "kafka.school:9092"
    assert settings.database == "postgresql+asyncpg://els@127.0.0.1:2/els"
    assert settings.topic_replication_factor == 1


@pytest.mark.parametrize(("given", "replicas"), [({}, 3), ({"topic_replication_factor": 2}, 2)])
def test_topics_get_a_replica_on_three_of_the_running_brokers(given: dict[str, int], replicas: int) -> None:
    found = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4"
    settings = load_settings(**given).with_servers(broker_url=found, database_url="postgresql://els@127.0.0.1:2/els")

    assert settings.topic_replication_factor == replicas


@pytest.mark.parametrize(
    ("smaller", "value"),
    [
        ("ELS_HEARTBEAT_INTERVAL_SECONDS", "10"),
        ("ELS_STATEMENT_TIMEOUT_SECONDS", "30"),
        ("ELS_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS", "31"),
        ("ELS_RETRY_INITIAL_SECONDS", "11"),
        ("ELS_MICRO_BATCH_RECORDS", "5000"),
        ("ELS_MICRO_BATCH_BYTES", "16777217"),
    ],
)
def test_an_error_about_two_settings_names_both(smaller: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(smaller, value)

    text = error_text()

    assert text.startswith(f"{smaller}={value}")
    assert text.count("ELS_") == 2


@pytest.mark.parametrize(
    ("flags", "strategy", "slot_table"),
    [
        ({}, Strategy.OPTION_B, SlotTable.ESSAY_STATES),
        ({"ELS_USE_ESSAY_STATES_AS_INVENTORY": "true"}, Strategy.OPTION_B, SlotTable.ESSAY_STATES),
        ({"ELS_USE_CTE_UPSERT_ASSIGNMENT": "true"}, Strategy.OPTION_A, SlotTable.SLOT_ASSIGNMENTS),
        ({"ELS_USE_ESSAY_STATES_AS_INVENTORY": "false"}, Strategy.TWO_STEP, SlotTable.SLOT_ASSIGNMENTS),
    ],
)
def test_flags_choose_the_strategy_and_its_slot_table(
    flags: dict[str, str], strategy: Strategy, slot_table: SlotTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in flags.items():
        monkeypatch.setenv(variable, value)

    settings = load_settings()

    assert (settings.strategy, slot_table_of(settings.strategy)) == (strategy, slot_table)


def test_two_strategies_are_an_error_that_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_USE_CTE_UPSERT_ASSIGNMENT", "true")
    monkeypatch.setenv("ELS_USE_ESSAY_STATES_AS_INVENTORY", "true")

    text = error_text()

    assert "ELS_USE_CTE_UPSERT_ASSIGNMENT" in text
    assert "ELS_USE_ESSAY_STATES_AS_INVENTORY" in text
    assert "leave one unset" in text


def test_option_b_can_be_set_explicitly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_USE_CTE_UPSERT_ASSIGNMENT", "false")
    monkeypatch.setenv("ELS_USE_ESSAY_STATES_AS_INVENTORY", "true")

    assert load_settings().strategy is Strategy.OPTION_B


def test_a_misspelt_variable_is_reported_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELS_BROKR_URL", "a:1")
    monkeypatch.setenv("ELS_FAUST_ANYTHING", "is Faust's")

    load_settings()

    assert (
        capsys.readouterr().err == "els: ELS_BROKR_URL is not a setting and is ignored; did you mean ELS_BROKER_URL?\n"
    )


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_setting_under_its_old_name_is_read_with_a_warning(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    default = load_settings().masked()[new]
    assert isinstance(default, int | float)
    monkeypatch.setenv(old, str(default + 1))

    assert load_settings().masked()[new] == default + 1
    assert capsys.readouterr().err == f"els: {old} is now {new}: rename it, the old name works in 0.2 only\n"


def test_an_argument_beats_a_setting_under_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_LANE_RECORDS", "2000")

    assert load_settings(buffered_records_per_partition=3000).buffered_records_per_partition == 3000


def test_old_and_new_name_with_different_values_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_LANE_RECORDS", "2000")
    monkeypatch.setenv("ELS_BUFFERED_RECORDS_PER_PARTITION", "2000")
    assert load_settings().buffered_records_per_partition == 2000

    monkeypatch.setenv("ELS_BUFFERED_RECORDS_PER_PARTITION", "3000")
    assert error_text() == (
        "ELS_LANE_RECORDS is the old name of ELS_BUFFERED_RECORDS_PER_PARTITION, and both are set to different values"
    )


def test_a_wrong_value_under_an_old_name_is_explained_by_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELS_LANE_RECORDS", "many")

    assert error_text().startswith("ELS_BUFFERED_RECORDS_PER_PARTITION='many': must be a whole number")


def test_old_names_are_no_settings_and_new_names_are() -> None:
    variables = {row.variable for row in rows(Settings)}

    assert variables.isdisjoint(RENAMED)
    assert variables >= set(RENAMED.values())


def test_every_setting_has_a_help_text_and_every_number_a_unit() -> None:
    assert [row.variable for row in rows(Settings) if not row.meaning.endswith(".")] == []
    assert [row.variable for row in RANGES if not row.unit] == []


def test_tombstones_are_kept_for_at_least_the_retention_of_input_topics() -> None:
    longest = max(plan.retention_days for plan in TOPICS if plan.topic in INPUT_TOPICS)

    Settings.model_validate({"tombstone_retention_days": longest})
    with pytest.raises(ValidationError):
        Settings.model_validate({"tombstone_retention_days": longest - 1})
