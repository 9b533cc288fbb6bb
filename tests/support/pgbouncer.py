"""A PgBouncer before a database, with the configuration of docs/connecting.md or another."""

from __future__ import annotations

import signal
from pathlib import Path

from els_stream.embedded.ports import answers, new_ports
from els_stream.embedded.processes import EmbeddedServer, ServerProcess
from els_stream.embedded.unprivileged import private_folder, unprivileged_user
from tests.support.local_postgres import ENVIRONMENT, PASSWORD, USER

STOP_TIMEOUT_SECONDS = 10
LOOPBACK = "127.0.0.1"


class PgBouncer(EmbeddedServer):
    """`lines` is its configuration without addresses and files."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._account = unprivileged_user()
        self.server = ServerProcess("pgbouncer", folder)
        self.place = private_folder(folder / "pgbouncer", self._account)
        (self.port,) = new_ports(1)

    def url(self, database: str, parameters: str = "") -> str:
        return f"postgresql://{USER}:{PASSWORD}@{LOOPBACK}:{self.port}/{database}{parameters}"

    def configure(self, text: str) -> None:
        (self.place / "userlist.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
        (self.place / "pgbouncer.ini").write_text(text)

    async def start(self) -> None:
        async with self.server.starting():
            await self.server.spawn(
                str(self._binary), str(self.place / "pgbouncer.ini"), env=ENVIRONMENT, account=self._account
            )
            await self.server.until(lambda: answers(LOOPBACK, self.port), STOP_TIMEOUT_SECONDS)

    async def stop(self) -> None:
        """End it with all connections."""
        await self.server.end(signal.SIGTERM, STOP_TIMEOUT_SECONDS)


def configuration(bouncer: PgBouncer, server: int, *, mode: str = "session", **more: object) -> str:
    """Return a configuration for the databases of the server on this port."""
    options = {
        "listen_addr": LOOPBACK,
        "listen_port": bouncer.port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": bouncer.place / "userlist.txt",
        "pool_mode": mode,
        "default_pool_size": 50,
        "server_login_retry": 1,
        **more,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    return f"[databases]\n* = host={LOOPBACK} port={server}\n[pgbouncer]\n{lines}"
