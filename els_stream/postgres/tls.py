"""TLS contexts for the certificates that an address names. Files are read for each connection: they may be renewed."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from els_stream.errors import DatabaseUnusable
from els_stream.postgres.address import SYSTEM, TlsMode, TlsOptions

_READABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO


def make_context(tls: TlsOptions) -> ssl.SSLContext | None:
    """Return the context of a connection, None for one without TLS. Raises DatabaseUnusable for a wrong file."""
    if tls.mode is TlsMode.DISABLE:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode is TlsMode.VERIFY_FULL
    # As libpq does, `require` verifies the authority if a file names it.
    context.verify_mode = ssl.CERT_NONE if tls.root is None else ssl.CERT_REQUIRED
    if tls.lowest is not None:
        context.minimum_version = tls.lowest
    if tls.highest is not None:
        context.maximum_version = tls.highest
    if tls.direct:
        context.set_alpn_protocols(["postgresql"])
    if tls.root == SYSTEM:
        context.load_default_certs()
    elif tls.root is not None:
        _load("sslrootcert", tls.root, lambda path: context.load_verify_locations(cafile=path))
    _load_revoked(context, tls)
    _load_certificate(context, tls)
    return context


def _load_revoked(context: ssl.SSLContext, tls: TlsOptions) -> None:
    if tls.revoked is not None:
        _load("sslcrl", tls.revoked, lambda path: context.load_verify_locations(cafile=path))
    if tls.revoked_folder is not None:
        _load("sslcrldir", tls.revoked_folder, lambda path: context.load_verify_locations(capath=path))
    if tls.revoked is not None or tls.revoked_folder is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_certificate(context: ssl.SSLContext, tls: TlsOptions) -> None:
    if tls.certificate is None:
        return
    certificate, key = tls.certificate, tls.key or tls.certificate
    _load("sslkey", key, _require_private)

    def no_password() -> str:
        raise ValueError("is encrypted: sslpassword is missing")

    password = no_password if tls.key_password is None else tls.key_password
    _load("sslcert", certificate, lambda path: context.load_cert_chain(path, key, password))


def _require_private(path: str) -> None:
    file = Path(path)
    with file.open("rb"):
        if file.stat().st_mode & _READABLE_BY_OTHERS:
            raise ValueError("others may read it: chmod 600, or 640 for a file of root")


def _load(parameter: str, path: str, read: Callable[[str], None]) -> None:
    try:
        read(path)
    except ssl.SSLError as error:
        reason = "is no certificate in PEM" if error.reason in {None, "NO_CERTIFICATE_OR_CRL_FOUND"} else error.reason
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise DatabaseUnusable(f"{parameter}={path} of the database's address: {reason}")
