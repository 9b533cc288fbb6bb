"""The configurations for PostgreSQL in docs/connecting.md work as written, with hosts and files of the test."""

from __future__ import annotations

import re
from pathlib import Path

from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds
from tests.support.cli import els
from tests.support.local_postgres import PASSWORD
from tests.support.packaged_servers import find_pgbouncer, required
from tests.support.pgbouncer import PgBouncer
from tests.support.secure_postgres import SecureServer
from tests.support.worker_pool import ROOT

SECTION = re.compile(r"^### (?P<title>.+?)\n(?P<body>.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?P<kind>sh|ini)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
EXPORT = re.compile(r"export ELS_DATABASE_URL='(.*)'")


def blocks(title: str, kind: str) -> list[str]:
    page = (ROOT / "docs" / "connecting.md").read_text()
    (body,) = [section["body"] for section in SECTION.finditer(page) if section["title"] == title]
    return [block["text"] for block in BLOCK.finditer(body) if block["kind"] == kind]


def urls(title: str, replaced: dict[str, object]) -> list[str]:
    found = [url for text in blocks(title, "sh") for url in EXPORT.findall(text)]
    return [filled(url, {"els:secret@": f"els:{PASSWORD}@", **replaced}) for url in found]


def filled(text: str, replaced: dict[str, object]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, str(new))
    assert "example.com" not in text
    return text


async def migrated(url: str) -> str:
    """Run a command that reads and writes; return what it printed."""
    ended = await els({"ELS_DATABASE_URL": url, "ELS_BROKER_URL": "127.0.0.1:1"}, "migrate")
    assert ended.exit_code == 0, ended.output
    return ended.output


async def test_managed_postgresql_with_tls(secure_server: SecureServer) -> None:
    place = f"127.0.0.1:{secure_server.server.port}"
    password, certificate = urls(
        "Managed PostgreSQL, with TLS",
        {
            "db.example.com:5432": place,
            "db.example.com": place,
            "/etc/els/ca.pem": secure_server.authority.file,
            "/etc/els/client.pem": secure_server.client.chain,
            "/etc/els/client.key": secure_server.client.key,
            "//els@": "//cert@",
        },
    )

    assert "the schema is at revision" in await migrated(password)
    await (await Connector(certificate, SessionNeeds(name="els test")).connect()).close()


async def test_several_hosts(secure_server: SecureServer) -> None:
    (url,) = urls(
        "Several hosts",
        {"db1.example.com:5432": "127.0.0.1:1", "db2.example.com:5432": f"127.0.0.1:{secure_server.server.port}"},
    )

    assert "the schema is at revision" in await migrated(url)


async def test_pgbouncer(secure_server: SecureServer, tmp_path: Path) -> None:
    bouncer = PgBouncer(required(find_pgbouncer(), "PgBouncer"), tmp_path)
    (configuration,) = blocks("PgBouncer", "ini")
    replaced = {
        "host=db.example.com port=5432": f"host=127.0.0.1 port={secure_server.server.port}",
        "listen_addr = *": "listen_addr = 127.0.0.1",
        "listen_port = 6432": f"listen_port = {bouncer.port}",
        "/etc/pgbouncer/userlist.txt": bouncer.place / "userlist.txt",
    }
    bouncer.configure(filled(configuration, replaced))
    (url,) = urls("PgBouncer", {"pgbouncer.example.com:6432": f"127.0.0.1:{bouncer.port}"})
    try:
        await bouncer.start()
        assert "the schema is at revision" in await migrated(url)
    finally:
        await bouncer.stop()
