"""TLS to a server of the system, with every `sslmode`, and certificates that are right, wrong or late."""

from __future__ import annotations

import ssl
from pathlib import Path

import asyncpg
import pytest

from els_stream.db.engine import create_migration_engine
from els_stream.db.migration_waits import with_retries
from els_stream.embedded.servers import Addresses
from els_stream.errors import DatabaseUnusable
from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds
from tests.support.secure_postgres import SecureServer
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
VERIFIED = "?sslmode=verify-full&sslrootcert={ca}"


async def encrypted(url: str) -> bool:
    session = await Connector(url, SessionNeeds(name="els test")).connect()
    try:
        return bool(await session.fetchval(ENCRYPTED))
    finally:
        await session.close()


def address(secure: SecureServer, parameters: str, user: str = "els") -> str:
    filled = parameters.format(
        ca=secure.authority.file, stranger=secure.stranger.file, socket=secure.server.place,
        cert=secure.client.chain, key=secure.client.key,
    )  # fmt: skip
    return secure.server.url(filled).replace("//els:", f"//{user}:")


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "?sslmode=allow",
        "?sslmode=require",
        "?sslmode=verify-ca&sslrootcert={ca}",
        VERIFIED,
        VERIFIED + "&host=localhost",
        VERIFIED + "&ssl_min_protocol_version=TLSv1.3&channel_binding=require&gssencmode=prefer&sslcompression=0",
    ],
)
async def test_modes_with_tls_encrypt(secure_server: SecureServer, parameters: str) -> None:
    assert await encrypted(address(secure_server, parameters))


@pytest.mark.parametrize("parameters", ["?sslmode=disable", "?host={socket}"])
async def test_no_tls_where_none_is_wanted_or_possible(secure_server: SecureServer, parameters: str) -> None:
    assert not await encrypted(address(secure_server, parameters))


async def test_the_authorities_of_the_system_can_be_used(
    secure_server: SecureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await encrypted(address(secure_server, "?sslrootcert=system"))

    monkeypatch.setenv("SSL_CERT_FILE", str(secure_server.authority.file))

    assert await encrypted(address(secure_server, "?sslrootcert=system"))


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_a_certificate_of_another_authority_is_refused(secure_server: SecureServer, mode: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"):
        await encrypted(address(secure_server, f"?sslmode={mode}&sslrootcert={{stranger}}"))


async def test_expired_and_misnamed_certificates_are_refused_until_renewed(secure_server: SecureServer) -> None:
    engineless = Connector(address(secure_server, VERIFIED), SessionNeeds(name="els test"))
    try:
        await secure_server.present(secure_server.expired)
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            await engineless.connect()

        await secure_server.present(secure_server.misnamed)
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await engineless.connect()
        assert await encrypted(address(secure_server, "?sslmode=verify-ca&sslrootcert={ca}"))
    finally:
        await secure_server.present(secure_server.valid)

    await (await engineless.connect()).close()


async def test_a_server_that_asks_for_a_certificate_gets_it(secure_server: SecureServer) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="valid client certificate"):
        await encrypted(address(secure_server, VERIFIED, user="cert"))

    assert await encrypted(address(secure_server, VERIFIED + "&sslcert={cert}&sslkey={key}", user="cert"))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("?sslmode=verify-full&sslrootcert=/no/ca.pem", "sslrootcert=/no/ca.pem .*: No such file or directory"),
        (VERIFIED + "&sslcert={cert}&sslkey=/no/key.pem", "sslkey=/no/key.pem .*: No such file or directory"),
        (VERIFIED + "&sslcert={ca}&sslkey={key}", "sslcert=.*: KEY_VALUES_MISMATCH"),
        ("?sslmode=verify-full&sslrootcert={key}", "sslrootcert=.*: is no certificate in PEM"),
    ],
)
async def test_a_wrong_file_is_named(secure_server: SecureServer, parameters: str, said: str) -> None:
    with pytest.raises(DatabaseUnusable, match=said):
        await encrypted(address(secure_server, parameters))


async def test_a_key_that_others_may_read_is_refused(secure_server: SecureServer, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(secure_server.client.key.read_bytes())
    key.chmod(0o644)

    with pytest.raises(DatabaseUnusable, match="others may read it"):
        await encrypted(address(secure_server, VERIFIED + f"&sslcert={{cert}}&sslkey={key}"))


async def test_prefer_goes_on_without_tls_for_a_role_that_must(secure_server: SecureServer) -> None:
    assert not await encrypted(address(secure_server, "", user="plain"))
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await encrypted(address(secure_server, "?sslmode=require", user="plain"))


async def test_a_wrong_password_is_tried_once(secure_server: SecureServer) -> None:
    url = address(secure_server, "").replace("otter-in-the-river", "heron")
    before = secure_server.server.logged().count("password authentication failed")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await encrypted(url)

    assert secure_server.server.logged().count("password authentication failed") == before + 1


async def test_a_server_without_tls_is_used_only_if_the_mode_allows_it(addresses: Addresses) -> None:
    session = await Connector(addresses.database_url, SessionNeeds(name="els test")).connect()
    await session.close()

    with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
        await encrypted(f"{addresses.database_url}?sslmode=require")


async def test_a_migration_that_ends_while_its_watch_logs_in_leaves_no_connection(secure_server: SecureServer) -> None:
    server = secure_server.server
    log_in = 6  # after so many chunks of its session the watch is in the middle of it
    async with TcpProxy(("127.0.0.1", server.port)).running() as proxy:
        url = server.url("?sslmode=require").replace(f":{server.port}", f":{proxy.port}")
        engine = create_migration_engine(url, "0")

        async def work() -> None:
            begun = proxy.chunks
            proxy.delay(0.05)
            await until(lambda: proxy.chunks >= begun + log_in)

        async with engine.connect() as conn:
            await with_retries(conn, work)
            assert proxy.connections == 1
        await engine.dispose()
