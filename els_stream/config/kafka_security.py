"""Checks the settings of Kafka's security against each other and makes the broker of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from pydantic import SecretStr

from els_stream.config.kafka_fields import KafkaFields
from els_stream.config.secret_files import FILE_SUFFIX
from els_stream.kafka.broker import Broker, PasswordLogin, Secret, Tls, TokenLogin
from els_stream.kafka.tls import make_context

CurrentSecret = Callable[[str], str | None]

_PROTOCOL: Final = "ELS_KAFKA_SECURITY_PROTOCOL"
_TLS_FIELDS: Final = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file", "kafka_key_password")
_PASSWORD_FIELDS: Final = ("kafka_user", "kafka_password")
_TOKEN_FIELDS: Final = ("kafka_oauth_token_url", "kafka_oauth_client_id", "kafka_oauth_client_secret")
_OTHER_TOKEN_FIELDS: Final = ("kafka_oauth_scope", "kafka_oauth_ca_file")


def check_security(settings: KafkaFields) -> None:
    """Raise ValueError for settings of Kafka's security that are missing, or that would be ignored."""
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    if "SSL" not in protocol:
        _refuse(settings, _TLS_FIELDS, f"{_PROTOCOL}={protocol} has no TLS")
    _require_pair(settings, "kafka_certificate_file", "kafka_key_file")
    _require_pair(settings, "kafka_key_password", "kafka_key_file", both=False)
    if not protocol.startswith("SASL"):
        fields = ("kafka_sasl_mechanism", *_PASSWORD_FIELDS, *_TOKEN_FIELDS, *_OTHER_TOKEN_FIELDS)
        _refuse(settings, fields, f"{_PROTOCOL}={protocol} has no login")
        return
    if mechanism is None:
        raise ValueError(f"{_PROTOCOL}={protocol} needs ELS_KAFKA_SASL_MECHANISM")
    needed, others = (
        (_TOKEN_FIELDS, _PASSWORD_FIELDS) if mechanism == TokenLogin.MECHANISM else (_PASSWORD_FIELDS, _TOKEN_FIELDS)
    )
    how = f"ELS_KAFKA_SASL_MECHANISM={mechanism}"
    for name in needed:
        if getattr(settings, name) is None:
            raise ValueError(f"{how} needs {_variable(name)}")
    _refuse(
        settings,
        others if mechanism == TokenLogin.MECHANISM else (*others, *_OTHER_TOKEN_FIELDS),
        f"{how} does not use it",
    )


def make_broker(settings: KafkaFields, servers: str, current_secret: CurrentSecret) -> Broker:
    """Return the broker of checked settings; `current_secret` returns the secret of a field as of now."""
    return Broker(
        servers, _tls(settings, current_secret), _login(settings, current_secret), settings.kafka_max_idle_seconds
    )


def check_files(settings: KafkaFields, current_secret: CurrentSecret) -> None:
    """Raise ConfigurationError if the certificates can't be used."""
    tls = _tls(settings, current_secret)
    if tls is not None:
        make_context(tls)
    if settings.kafka_oauth_ca_file is not None:
        make_context(Tls(ca_file=settings.kafka_oauth_ca_file), "ELS_KAFKA_OAUTH_CA_FILE")


def kafka_variables(settings: KafkaFields) -> dict[str, str]:
    """Return the environment of a process that reaches Kafka as these settings do; it holds secrets."""
    given = {name: getattr(settings, name) for name in KafkaFields.model_fields if name.startswith("kafka_")}
    in_files = {name for name in given if given.get(name + FILE_SUFFIX) is not None}
    return {
        _variable(name): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given.items()
        if value is not None and name not in in_files
    }


def _tls(settings: KafkaFields, current_secret: CurrentSecret) -> Tls | None:
    if "SSL" not in settings.kafka_security_protocol:
        return None
    return Tls(
        ca_file=settings.kafka_ca_file,
        certificate_file=settings.kafka_certificate_file,
        key_file=settings.kafka_key_file,
        key_password=None if settings.kafka_key_password is None else _secret(current_secret, "kafka_key_password"),
        check_host_name=settings.kafka_check_host_name,
    )


def _login(settings: KafkaFields, current_secret: CurrentSecret) -> PasswordLogin | TokenLogin | None:
    mechanism = settings.kafka_sasl_mechanism
    if mechanism is None:
        return None
    if mechanism != TokenLogin.MECHANISM:
        return PasswordLogin(mechanism, settings.kafka_user or "", _secret(current_secret, "kafka_password"))
    return TokenLogin(
        url=settings.kafka_oauth_token_url or "",
        client_id=settings.kafka_oauth_client_id or "",
        client_secret=_secret(current_secret, "kafka_oauth_client_secret"),
        scope=settings.kafka_oauth_scope,
        ca_file=settings.kafka_oauth_ca_file,
    )


def _secret(current_secret: CurrentSecret, name: str) -> Secret:
    return partial(_read, current_secret, name)


def _read(current_secret: CurrentSecret, name: str) -> str:
    return current_secret(name) or ""


def _refuse(settings: KafkaFields, fields: tuple[str, ...], reason: str) -> None:
    for name in fields:
        if getattr(settings, name) is not None:
            raise ValueError(f"{_variable(name)} is set, but {reason}")


def _require_pair(settings: KafkaFields, name: str, other: str, *, both: bool = True) -> None:
    first, second = getattr(settings, name) is not None, getattr(settings, other) is not None
    if first and not second:
        raise ValueError(f"{_variable(name)} needs {_variable(other)}")
    if both and second and not first:
        raise ValueError(f"{_variable(other)} needs {_variable(name)}")


def _variable(name: str) -> str:
    return f"ELS_{name}".upper()
