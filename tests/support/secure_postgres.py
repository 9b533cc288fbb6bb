"""A PostgreSQL with TLS, from the system: the wheel's has none."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from els_stream.db import migration
from els_stream.embedded.certificates import Authority, Certificate
from tests.support.local_postgres import PASSWORD, LocalPostgres
from tests.support.packaged_servers import find_postgres, required
from tests.support.waiting import until

# The user `cert` needs a client's certificate, `plain` must not use TLS; others may choose.
HBA: Final = (
    "local all all scram-sha-256",
    "hostssl all cert 127.0.0.1/32 cert",
    "hostnossl all plain 127.0.0.1/32 scram-sha-256",
    "host all cert,plain 127.0.0.1/32 reject",
    "host all all 127.0.0.1/32 scram-sha-256",
)
RELOADED: Final = "received SIGHUP"


@dataclass(frozen=True)
class SecureServer:
    """A server with TLS, its authority, another authority, and certificates for the server and for a client."""

    server: LocalPostgres
    authority: Authority
    stranger: Authority
    valid: Certificate
    expired: Certificate
    misnamed: Certificate
    client: Certificate

    @classmethod
    def of(cls, folder: Path) -> SecureServer:
        binaries = required(find_postgres(), "PostgreSQL with TLS")
        authority = Authority(folder / "ours")
        return cls(
            server=LocalPostgres(binaries, folder),
            authority=authority,
            stranger=Authority(folder / "theirs"),
            valid=authority.issue("server"),
            expired=authority.issue("late", until=datetime.now(UTC) - timedelta(days=1)),
            misnamed=authority.issue("other", names=("db.example.com",)),
            client=authority.issue("cert"),
        )

    async def create(self) -> None:
        server = self.server
        self._copy(self.valid)
        shutil.copy(self.authority.file, server.place / "ca.pem")
        files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "ca.pem"}
        await server.create({"ssl": "on"} | {name: str(server.place / file) for name, file in files.items()}, HBA)
        for name in ("cert", "plain"):
            await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        await migration.upgrade(server.url())

    async def present(self, certificate: Certificate) -> None:
        """Have the server present this certificate from the next connection on."""
        self._copy(certificate)
        before = self.server.logged().count(RELOADED)
        self.server.reload()
        await until(lambda: self.server.logged().count(RELOADED) > before)

    def _copy(self, certificate: Certificate) -> None:
        account = self.server.account
        for source, name in ((certificate.chain, "server.pem"), (certificate.key, "server.key")):
            target = self.server.place / name
            shutil.copy(source, target)
            target.chmod(0o600)
            if account is not None:
                shutil.chown(target, account.pw_uid, account.pw_gid)
