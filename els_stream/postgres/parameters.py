"""The parameters of a PostgreSQL address: which are used, which change nothing here, and which are refused, and why.

The names are libpq's (PostgreSQL documentation, 32.1.2), of release 18. None of them reaches the server as a setting of
its own, except the application name and `options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

USED: Final = frozenset(
    {
        "application_name",
        "channel_binding",
        "connect_timeout",
        "dbname",
        "fallback_application_name",
        "host",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "options",
        "passfile",
        "password",
        "port",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)


@dataclass(frozen=True, slots=True)
class Without:
    """A parameter that changes nothing here, with these values only if there are any; any other value is refused."""

    reason: str
    values: frozenset[str] = frozenset()


WITHOUT_EFFECT: Final[Mapping[str, Without]] = {
    "client_encoding": Without("text is always UTF-8", frozenset({"auto", "utf8", "utf-8", "unicode"})),
    "gssdelegation": Without("there is no Kerberos log-in"),
    "gssencmode": Without("there is no Kerberos encryption", frozenset({"disable", "prefer"})),
    "gsslib": Without("there is no Kerberos log-in"),
    "krbsrvname": Without("there is no Kerberos log-in"),
    "max_protocol_version": Without("the protocol is 3.0", frozenset({"3.0", "3.2", "latest"})),
    "min_protocol_version": Without("the protocol is 3.0", frozenset({"3.0"})),
    "replication": Without("sessions are ordinary ones", frozenset({"false", "off", "no", "0"})),
    "sslcertmode": Without("a certificate is sent if sslcert names one", frozenset({"allow"})),
    "sslcompression": Without("TLS is never compressed"),
    "sslsni": Without("the host name is always sent", frozenset({"1"})),
}

_OAUTH: Final = "there is no OAuth log-in"
_SCRAM: Final = "the log-in needs the password"
REFUSED: Final[Mapping[str, str]] = {
    "hostaddr": "write the address as the host",
    "oauth_client_id": _OAUTH,
    "oauth_client_secret": _OAUTH,
    "oauth_issuer": _OAUTH,
    "oauth_scope": _OAUTH,
    "require_auth": "the method of the log-in can't be limited; sslmode=verify-full protects the password",
    "requirepeer": "the owner of a socket is not checked; the folder's permissions protect it",
    "scram_client_key": _SCRAM,
    "scram_server_key": _SCRAM,
    "service": "write the parameters of the service into the address",
    "servicefile": "write the parameters of the service into the address",
    "sslkeylogfile": "keys of TLS are never written to a file",
}

# Values that must not be shown.
SECRETS: Final = frozenset({"oauth_client_secret", "password", "scram_client_key", "scram_server_key", "sslpassword"})

# libpq's environment variables (32.15): they stand for parameters that the address does not have.
VARIABLES: Final[Mapping[str, str]] = {
    "PGAPPNAME": "application_name",
    "PGCHANNELBINDING": "channel_binding",
    "PGCLIENTENCODING": "client_encoding",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGDATABASE": "dbname",
    "PGGSSENCMODE": "gssencmode",
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
    "PGMINPROTOCOLVERSION": "min_protocol_version",
    "PGOPTIONS": "options",
    "PGPASSFILE": "passfile",
    "PGPASSWORD": "password",
    "PGPORT": "port",
    "PGREQUIREAUTH": "require_auth",
    "PGREQUIREPEER": "requirepeer",
    "PGSERVICE": "service",
    "PGSSLCERT": "sslcert",
    "PGSSLCERTMODE": "sslcertmode",
    "PGSSLCRL": "sslcrl",
    "PGSSLCRLDIR": "sslcrldir",
    "PGSSLKEY": "sslkey",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMODE": "sslmode",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLSNI": "sslsni",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGUSER": "user",
}
