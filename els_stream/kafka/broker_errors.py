"""Why a connection to a broker failed, in one line without secrets.

aiokafka's clients raise "Unable to bootstrap" whatever the cause; this is made from the error of the connection itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from aiokafka import errors

from els_stream.kafka.broker import Broker, PasswordLogin

# OpenSSL's codes of X509_verify_cert_error_string(3).
_CERTIFICATE: Final = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    62: "its certificate is for another host name",
    64: "its certificate is for another IP address",
}
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
_CLOSED: Final = (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


class TokenUnavailable(errors.KafkaError):
    """The token endpoint gave no token; the message is one line without secrets."""


class BrokerConnectionFailed(errors.KafkaConnectionError):
    """A connection to a broker failed; the message says why, in one line."""


_REFUSALS: Final = (
    ssl.SSLError,
    TokenUnavailable,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.SaslAuthenticationFailed,
)


def explain(error: BaseException, broker: Broker) -> str:
    """Return why a connection could not be made."""
    chain = list(_chain(error))
    for cause in chain:
        text = _tls_reason(cause) or _login_reason(cause, broker)
        if text is not None:
            return text
    if any(isinstance(cause, _CLOSED) for cause in chain):
        return _closed_reason(chain, broker)
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    cause = chain[-1]
    if isinstance(cause, socket.gaierror):
        return f"its host name has no address: {cause.strerror}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return f"{type(cause).__name__}: {cause}".rstrip(": ")


def is_refusal(error: BaseException) -> bool:
    """Return whether TLS or the login failed, and not the network."""
    return any(isinstance(cause, _REFUSALS) and not isinstance(cause, ssl.SSLEOFError) for cause in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _tls_reason(cause: BaseException) -> str | None:
    match cause:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=message):
            return _CERTIFICATE.get(code, f"its certificate is not trusted (ELS_KAFKA_CA_FILE): {message}")
        case ssl.SSLEOFError():
            return None
        case ssl.SSLError(reason=reason) if reason in _NO_TLS:
            return "this port has no TLS (ELS_KAFKA_SECURITY_PROTOCOL)"
        case ssl.SSLError(reason=str(reason)) if "CERTIFICATE" in reason:
            return f"it refuses the client certificate, or wants one (ELS_KAFKA_CERTIFICATE_FILE): {_words(reason)}"
        case ssl.SSLError(reason=reason):
            return f"TLS failed: {_words(reason or str(cause))}"
        case _:
            return None


def _login_reason(cause: BaseException, broker: Broker) -> str | None:
    login = broker.login
    match cause:
        case TokenUnavailable():
            return str(cause.args[0])
        case errors.UnsupportedSaslMechanismError():
            mechanism = "this mechanism" if login is None else login.mechanism
            return f"it does not offer {mechanism} (ELS_KAFKA_SASL_MECHANISM)"
        case errors.IllegalSaslStateError():
            return "this port has no login (ELS_KAFKA_SECURITY_PROTOCOL)"
        case errors.SaslAuthenticationFailed() | errors.AuthenticationFailedError():
            if isinstance(login, PasswordLogin):
                return f"it refuses user or password of {login.user} ({login.mechanism})"
            return f"it refuses the access token: {cause.args[0] if cause.args else ''}".rstrip(": ")
        case _:
            return None


def _closed_reason(chain: list[BaseException], broker: Broker) -> str:
    """Explain a connection that the broker closed without a word."""
    if broker.tls is None:
        return "it closed the connection: the port may want TLS or a login (ELS_KAFKA_SECURITY_PROTOCOL)"
    if isinstance(chain[0], OSError):
        return "it closed the connection in the TLS handshake: the port may have no TLS (ELS_KAFKA_SECURITY_PROTOCOL)"
    if broker.tls.certificate_file is None:
        return "it closed the connection: the port may want a certificate (ELS_KAFKA_CERTIFICATE_FILE) or a login"
    return "it closed the connection: it may not trust the client's certificate, or want a login"


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
