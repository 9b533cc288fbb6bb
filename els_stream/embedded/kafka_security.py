"""Listeners with TLS and logins for the embedded Kafka, and rights that are checked (StandardAuthorizer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from els_stream.embedded.certificates import Certificate
from els_stream.embedded.ports import LOOPBACK

# The listener of brokers and controllers among themselves, and of administrators: with client certificates.
INTERNAL: Final = "INTERNAL"
CONTROLLER: Final = "CONTROLLER"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

_COMMON: Final = """\
inter.broker.listener.name={internal}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{broker}
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT
ssl.keystore.type=PEM
ssl.truststore.type=PEM
ssl.truststore.location={ca}
ssl.keystore.location={bundle}
"""
_MODULE: Final = "org.apache.kafka.common.security"
_TOKENS: Final = f"{_MODULE}.oauthbearer.OAuthBearerLoginModule required"


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener for clients; `certificate` is another one than the broker's own.

    Clients are sent to `advertised_port` if that is another one than where the listener is.
    """

    name: str
    protocol: str
    client_certificates: bool = False
    certificate: Certificate | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    advertised_port: int | None = None

    @property
    def prefix(self) -> str:
        return f"listener.name.{self.name.lower()}"


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """What a broker is started with; its certificate's name is that of the super user.

    `users` have a password for PLAIN and SCRAM. Tokens for OAUTHBEARER are not signed.
    """

    ca_file: Path
    broker_name: str
    certificate: Certificate
    listeners: Sequence[Listener]
    users: Mapping[str, str]

    def properties(self, ports: Sequence[int]) -> str:
        """Return lines for server.properties that replace those of the plain listeners.

        `ports` has those of the listeners, then that of the internal one and of the controller.
        """
        internal = Listener(INTERNAL, "SSL", client_certificates=True)
        controller = Listener(CONTROLLER, "SSL", client_certificates=True)
        listeners = [*self.listeners, internal, controller]
        pairs = list(zip(listeners, ports, strict=True))
        places = [f"{each.name}://{LOOPBACK}:{port}" for each, port in pairs]
        advertised = [f"{each.name}://{LOOPBACK}:{each.advertised_port or port}" for each, port in pairs[:-1]]
        lines = [
            f"listeners={','.join(places)}",
            f"advertised.listeners={','.join(advertised)}",
            f"listener.security.protocol.map={','.join(f'{each.name}:{each.protocol}' for each in listeners)}",
        ]
        common = _COMMON.format(
            internal=INTERNAL, broker=self.broker_name, ca=self.ca_file, bundle=self.certificate.bundle
        )
        return "\n".join([*lines, common, *(line for each in listeners for line in self._lines(each))]) + "\n"

    def scram_users(self) -> list[str]:
        """Return the options of `kafka-storage format` that create the users."""
        return [
            option
            for user, password in self.users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for option in ("--add-scram", f"{mechanism}=[name={user},password={password}]")
        ]

    def _lines(self, listener: Listener) -> list[str]:
        prefix = listener.prefix
        lines = [f"{prefix}.{name}={value}" for name, value in listener.properties.items()]
        if listener.client_certificates:
            lines.append(f"{prefix}.ssl.client.auth=required")
        if listener.certificate is not None:
            lines.append(f"{prefix}.ssl.keystore.location={listener.certificate.bundle}")
        if listener.protocol.startswith("SASL"):
            known = "".join(f' user_{user}="{password}"' for user, password in self.users.items())
            lines += [
                f"{prefix}.sasl.enabled.mechanisms={','.join(MECHANISMS)}",
                f"{prefix}.plain.sasl.jaas.config={_MODULE}.plain.PlainLoginModule required{known};",
                f"{prefix}.scram-sha-256.sasl.jaas.config={_MODULE}.scram.ScramLoginModule required;",
                f"{prefix}.scram-sha-512.sasl.jaas.config={_MODULE}.scram.ScramLoginModule required;",
                f"{prefix}.oauthbearer.sasl.jaas.config={_TOKENS} unsecuredLoginStringClaim_sub=broker;",
            ]
        return lines
