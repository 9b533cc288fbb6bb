"""A Kafka with TLS, logins and rights, and the environments of services that connect to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from els_stream.embedded.certificates import Authority, Certificate
from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.kafka_security import INTERNAL, KafkaSecurity, Listener
from els_stream.embedded.ports import new_ports
from els_stream.errors import ServersUnavailable
from els_stream.kafka.admin import admin_client
from els_stream.kafka.broker import Broker, PasswordLogin, Tls
from tests.support.kafka_rights import set_password
from tests.support.token_endpoint import TokenEndpoint
from tests.support.waiting import until

SUPER_USER: Final = "broker"
USER: Final = "frizzle"
# A text that occurs in no log and no error by chance.
PASSWORD: Final = "magic-school-bus-0471"
SESSION_SECONDS: Final = 4


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """`certificate` is that of USER; `strangers` are an authority that no one trusts and what it issued."""

    kafka: EmbeddedKafka
    authority: Authority
    admin: Broker
    certificate: Certificate
    stranger: Authority
    path_port: int  # where clients of the listener DISTANT are sent

    def environment(
        self, listener: str, mechanism: str | None = "SCRAM-SHA-512", **variables: object
    ) -> dict[str, str]:
        """Return the settings of USER at a listener; `variables` without ELS_KAFKA_ replace some."""
        given: dict[str, object] = {"CA_FILE": self.authority.file}
        if mechanism is None:
            given |= {"SECURITY_PROTOCOL": "SSL"}
        else:
            given |= {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": mechanism, "USER": USER, "PASSWORD": PASSWORD}
        settings = {f"ELS_KAFKA_{name}": str(value) for name, value in (given | variables).items() if value is not None}
        return settings | {"ELS_BROKER_URL": self.kafka.address_of(listener)}

    def with_tokens(self, endpoint: TokenEndpoint, listener: str) -> dict[str, str]:
        return self.environment(
            listener,
            "OAUTHBEARER",
            USER=None,
            PASSWORD=None,
            OAUTH_TOKEN_URL=endpoint.url,
            OAUTH_CLIENT_ID=endpoint.client_id,
            OAUTH_CLIENT_SECRET=endpoint.client_secret,
            OAUTH_CA_FILE=self.authority.file,
        )

    def login(self, password: str = PASSWORD) -> Broker:
        """Return the broker as USER reaches it with a password."""
        login = PasswordLogin("SCRAM-SHA-512", USER, lambda: password)
        return Broker(self.kafka.address_of("LOGIN"), Tls(self.authority.file), login)

    async def set_password(self, password: str) -> None:
        """Set the password of USER; returns once the broker accepts it."""
        await set_password(self.admin, USER, password)

        async def accepted() -> bool:
            with suppress(ServersUnavailable):
                async with admin_client(self.login(password)):
                    return True
            return False

        await until(accepted)

    def mtls(self) -> dict[str, str]:
        files = {"CERTIFICATE_FILE": self.certificate.chain, "KEY_FILE": self.certificate.key}
        return self.environment("MTLS", None, **files)


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Start a broker whose listeners are named for what is special about them."""
    authority, stranger = Authority(folder / "certificates"), Authority(folder / "stranger")
    own = authority.issue(SUPER_USER)
    (path_port,) = new_ports(1)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    kafka = EmbeddedKafka(
        folder,
        security=KafkaSecurity(
            authority.file,
            SUPER_USER,
            own,
            [
                Listener("LOGIN", "SASL_SSL"),
                Listener("MTLS", "SSL", client_certificates=True),
                Listener("CLEAR", "SASL_PLAINTEXT"),
                Listener("EXPIRED", "SASL_SSL", certificate=authority.issue("expired", until=yesterday)),
                Listener("ELSEWHERE", "SASL_SSL", certificate=authority.issue("elsewhere", names=("kafka.school",))),
                Listener("DISTANT", "SASL_SSL", advertised_port=path_port),
                Listener("RENEWED", "SASL_SSL", properties=_sessions(SESSION_SECONDS)),
            ],
            {USER: PASSWORD},
        ),
    )
    asyncio.run(kafka.start())
    try:
        admin = Broker(kafka.address_of(INTERNAL), Tls(authority.file, own.chain, own.key))
        yield SecureKafka(kafka, authority, admin, authority.issue(USER), stranger, path_port)
    finally:
        asyncio.run(kafka.stop())
        kafka.remove_data()


def _sessions(seconds: int) -> dict[str, str]:
    mechanisms = ("plain", "scram-sha-256", "scram-sha-512", "oauthbearer")
    return {f"{mechanism}.connections.max.reauth.ms": str(seconds * 1000) for mechanism in mechanisms}
