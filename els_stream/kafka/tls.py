"""The TLS context of the connections to the broker, made anew when one of its files has changed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from els_stream.errors import ConfigurationError
from els_stream.kafka.broker import Tls

log = logging.getLogger(__name__)


class TlsFiles:
    """The context of the files as they are now."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._versions()
        self._context = make_context(tls)

    def current(self) -> ssl.SSLContext:
        """Return the context; files that can't be used now leave it as it was."""
        versions = self._versions()
        if versions != self._seen:
            self._seen = versions
            try:
                self._context = make_context(self._tls)
            except ConfigurationError as error:
                log.warning("the changed file is not used: %s", error)
        return self._context

    def _versions(self) -> list[tuple[int, int] | None]:
        return [_version(path) for path in (self._tls.ca_file, self._tls.certificate_file, self._tls.key_file)]


def make_context(tls: Tls, ca_variable: str = "ELS_KAFKA_CA_FILE") -> ssl.SSLContext:
    """Make the context of a client; raises ConfigurationError with the name of the setting that is wrong."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # SSLError is one
        raise ConfigurationError(f"{ca_variable}={tls.ca_file}: {_reason(error, 'CA certificate')}") from None
    context.check_hostname = tls.check_host_name
    if tls.certificate_file is not None:
        _load_certificate(context, tls, tls.certificate_file)
    return context


def _load_certificate(context: ssl.SSLContext, tls: Tls, certificate: Path) -> None:
    for name, path in (("CERTIFICATE", certificate), ("KEY", tls.key_file)):
        if path is not None and not path.is_file():
            raise ConfigurationError(f"ELS_KAFKA_{name}_FILE={path}: there is no such file")
    # Without a password OpenSSL would ask for one on the terminal.
    password = "" if tls.key_password is None else tls.key_password()
    try:
        context.load_cert_chain(certificate, tls.key_file, password)
    except OSError as error:
        text = "KEY_VALUES_MISMATCH" if "KEY_VALUES_MISMATCH" in str(error) else ""
        reason = "the key is not the certificate's" if text else _reason(error, "certificate and its key")
        hint = ", or ELS_KAFKA_KEY_PASSWORD is wrong" if isinstance(error, ssl.SSLError) and not text else ""
        raise ConfigurationError(
            f"ELS_KAFKA_CERTIFICATE_FILE={certificate} with ELS_KAFKA_KEY_FILE={tls.key_file}: {reason}{hint}"
        ) from None


def _reason(error: OSError, what: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"holds no {what} as PEM"
    return f"can't be read: {error.strerror or type(error).__name__}"


def _version(path: Path | None) -> tuple[int, int] | None:
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_ino)
