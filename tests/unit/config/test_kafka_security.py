"""The settings of Kafka's security: what is missing or would be ignored is refused, and no secret is shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from els_stream.config.kafka_security import kafka_variables
from els_stream.config.settings import Settings, load_settings
from els_stream.config.settings_reference import rows
from els_stream.embedded.certificates import Authority
from els_stream.errors import ConfigurationError
from els_stream.kafka.broker import PasswordLogin
from els_stream.kafka.tls import TlsFiles
from els_stream.observability.logging import configure_logging

PASSWORD = "f1ve-owls://in@a=row"
LOGIN = {"SASL_MECHANISM": "SCRAM-SHA-512", "USER": "frizzle", "PASSWORD": PASSWORD}
TOKENS = {
    "SASL_MECHANISM": "OAUTHBEARER",
    "OAUTH_TOKEN_URL": "https://id.school/token",
    "OAUTH_CLIENT_ID": "els",
    "OAUTH_CLIENT_SECRET": PASSWORD,
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows(Settings):
        monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.setenv("ELS_BROKER_URL", "kafka.school:9093")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def load(monkeypatch: pytest.MonkeyPatch, protocol: str, **variables: object) -> Settings:
    monkeypatch.setenv("ELS_KAFKA_SECURITY_PROTOCOL", protocol)
    for name, value in variables.items():
        monkeypatch.setenv(f"ELS_KAFKA_{name}", str(value))
    return load_settings()


@pytest.mark.parametrize(
    ("protocol", "variables", "message"),
    [
        ("SASL_SSL", {}, "ELS_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs ELS_KAFKA_SASL_MECHANISM"),
        ("SASL_SSL", LOGIN | {"PASSWORD": ""}, "ELS_KAFKA_SASL_MECHANISM=SCRAM-SHA-512 needs ELS_KAFKA_PASSWORD"),
        ("SASL_SSL", LOGIN | {"USER": ""}, "ELS_KAFKA_SASL_MECHANISM=SCRAM-SHA-512 needs ELS_KAFKA_USER"),
        (
            "SASL_SSL",
            LOGIN | {"OAUTH_SCOPE": "kafka"},
            "ELS_KAFKA_OAUTH_SCOPE is set, but ELS_KAFKA_SASL_MECHANISM=SCRAM-SHA-512 does not use it",
        ),
        (
            "SASL_SSL",
            TOKENS | {"OAUTH_CLIENT_SECRET": ""},
            "ELS_KAFKA_SASL_MECHANISM=OAUTHBEARER needs ELS_KAFKA_OAUTH_CLIENT_SECRET",
        ),
        (
            "SASL_SSL",
            TOKENS | {"USER": "frizzle"},
            "ELS_KAFKA_USER is set, but ELS_KAFKA_SASL_MECHANISM=OAUTHBEARER does not use it",
        ),
        ("SSL", LOGIN, "ELS_KAFKA_SASL_MECHANISM is set, but ELS_KAFKA_SECURITY_PROTOCOL=SSL has no login"),
        (
            "PLAINTEXT",
            {"CA_FILE": "/ca.pem"},
            "ELS_KAFKA_CA_FILE is set, but ELS_KAFKA_SECURITY_PROTOCOL=PLAINTEXT has no TLS",
        ),
        ("SSL", {"CERTIFICATE_FILE": "/c.pem"}, "ELS_KAFKA_CERTIFICATE_FILE needs ELS_KAFKA_KEY_FILE"),
        ("SSL", {"KEY_FILE": "/k.pem"}, "ELS_KAFKA_KEY_FILE needs ELS_KAFKA_CERTIFICATE_FILE"),
        ("SSL", {"CA_FILE": "/no/ca.pem"}, "ELS_KAFKA_CA_FILE=/no/ca.pem: can't be read: No such file or directory"),
        ("SSL", {"CA_FILE": __file__}, f"ELS_KAFKA_CA_FILE={__file__}: holds no CA certificate as PEM"),
        (
            "SSL",
            {"CERTIFICATE_FILE": "/no/c.pem", "KEY_FILE": "/no/k.pem"},
            "ELS_KAFKA_CERTIFICATE_FILE=/no/c.pem: there is no such file",
        ),
        (
            "SASL_SSL",
            LOGIN | {"USER": "frízzle"},
            "ELS_KAFKA_USER='frízzle': must be 1 to 255 printable ASCII characters",
        ),
        (
            "TLS",
            {},
            "ELS_KAFKA_SECURITY_PROTOCOL='TLS': must be PLAINTEXT or SSL or SASL_PLAINTEXT or SASL_SSL",
        ),
    ],
)
def test_what_is_missing_or_would_be_ignored_is_refused(
    protocol: str, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, protocol, **variables)

    assert str(caught.value) == message


def test_a_key_of_another_certificate_is_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = authority.issue("one"), authority.issue("other")

    with pytest.raises(ConfigurationError, match="the key is not the certificate's"):
        load(monkeypatch, "SSL", CA_FILE=authority.file, CERTIFICATE_FILE=one.chain, KEY_FILE=other.key)


def test_a_key_with_a_password_is_opened_or_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    files = authority.issue("locked", password=PASSWORD)
    given = {"CA_FILE": authority.file, "CERTIFICATE_FILE": files.chain, "KEY_FILE": files.key}

    load(monkeypatch, "SSL", **given, KEY_PASSWORD=PASSWORD)
    with pytest.raises(ConfigurationError, match="or ELS_KAFKA_KEY_PASSWORD is wrong") as caught:
        load(monkeypatch, "SSL", **given, KEY_PASSWORD="w0rng")

    assert "w0rng" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
@pytest.mark.parametrize("variables", [LOGIN, TOKENS])
def test_secrets_are_masked(protocol: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, protocol, **variables)

    shown = f"{settings.masked()} {settings!r} {settings.broker!r} {settings.broker}"
    assert "***" in shown
    assert "owls" not in shown


def test_a_rotated_password_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text("monday\n")
    login = load(monkeypatch, "SASL_SSL", **(LOGIN | {"PASSWORD": "", "PASSWORD_FILE": secret})).broker.login

    assert isinstance(login, PasswordLogin)
    assert login.password() == "monday"
    secret.write_text("tuesday\n")
    assert login.password() == "tuesday"


def test_a_rotated_certificate_is_read_anew(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    files = authority.issue("rotated")
    given = {"CA_FILE": authority.file, "CERTIFICATE_FILE": files.chain, "KEY_FILE": files.key}
    tls = load(monkeypatch, "SSL", **given).broker.tls
    assert tls is not None
    context = TlsFiles(tls)
    first = context.current()
    assert context.current() is first

    authority.issue("rotated")
    second = context.current()
    assert second is not first

    files.key.write_text("half of a")
    assert context.current() is second


def test_requests_of_a_login_are_not_logged() -> None:
    """The library logs the bytes of each request at the level debug, a password too."""
    configure_logging("debug", "json")

    assert not logging.getLogger("aiokafka.conn").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("aiokafka.client").isEnabledFor(logging.DEBUG)


def test_another_process_gets_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is in a file is passed on as the file, which may change."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    settings = load(monkeypatch, "SASL_SSL", **(LOGIN | {"PASSWORD": "", "PASSWORD_FILE": str(secret)}))

    variables = kafka_variables(settings)

    assert variables["ELS_KAFKA_PASSWORD_FILE"] == str(secret)
    assert "ELS_KAFKA_PASSWORD" not in variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().masked() == settings.masked()
