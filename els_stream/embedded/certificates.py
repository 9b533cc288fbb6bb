"""A certificate authority made on the spot, and certificates of servers and clients that it signs.

For tests and demos: the authority's key is in memory only and gone with this process.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from els_stream.errors import ServersUnavailable

# Servers listen on loopback; clients compare these names.
NAMES = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of a certificate with its chain, of its key, and of both together (`bundle`)."""

    chain: Path
    key: Path
    bundle: Path


class Authority:
    """Writes its certificate to `folder`/ca.pem, and what it issues beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca: Any = _module("trustme").CA()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(
        self, name: str, *, names: tuple[str, ...] = NAMES, until: datetime | None = None, password: str | None = None
    ) -> Certificate:
        """Issue a certificate whose common name is `name`; the key is encrypted if there is a password."""
        issued = self._ca.issue_cert(*names, common_name=name, not_after=until)
        key = _as_pkcs8(issued.private_key_pem.bytes(), password)
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        files = Certificate(*(self._folder / f"{name}.{kind}.pem" for kind in ("chain", "key", "bundle")))
        for path, content in ((files.chain, chain), (files.key, key), (files.bundle, key + chain)):
            path.touch(mode=0o600)
            path.write_bytes(content)
        return files


def _as_pkcs8(pem: bytes, password: str | None) -> bytes:
    """Return the key in the one format that Kafka reads."""
    serialization = _module("cryptography.hazmat.primitives.serialization")
    encryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password.encode())
    )
    key: bytes = serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return key


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise ServersUnavailable("certificates need trustme: pip install trustme") from missing
