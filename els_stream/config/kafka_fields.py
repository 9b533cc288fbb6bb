"""The fields of the settings that say how Kafka is reached."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from els_stream.config import setting_types as types
from els_stream.config import urls
from els_stream.config.settings_reference import Allowed
from els_stream.kafka.broker import DEFAULT_IDLE_SECONDS


class KafkaFields(BaseSettings):
    """Base of `SettingFields`."""

    broker_url: Annotated[types.Bootstrap | None, Allowed(urls.BOOTSTRAP)] = Field(
        None, description="Kafka's bootstrap servers, host:port[,host:port]; unset: the broker that `els up` started."
    )
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], types.AnyCaseUpper
    ] = Field("PLAINTEXT", description="Whether connections to Kafka use TLS (SSL) and a login (SASL).")
    kafka_ca_file: Path | None = Field(
        None, description="CA certificates that sign the brokers' (PEM); unset: those of the system."
    )
    kafka_certificate_file: Path | None = Field(
        None, description="Certificate of this client (PEM, with its chain), for brokers that ask for one (mTLS)."
    )
    kafka_key_file: Path | None = Field(None, description="Private key of ELS_KAFKA_CERTIFICATE_FILE (PEM).")
    kafka_key_password: SecretStr | None = Field(None, description="Password of the private key, if it has one.")
    kafka_key_password_file: Path | None = Field(
        None, description="File that holds the value of ELS_KAFKA_KEY_PASSWORD; it is read again with a changed key."
    )
    kafka_check_host_name: bool = Field(
        default=True, description="Refuse a broker whose certificate is not for the host name that was connected to."
    )
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None, types.AnyCaseUpper
    ] = Field(None, description="How to log in; required if ELS_KAFKA_SECURITY_PROTOCOL begins with SASL.")
    kafka_user: Annotated[str | None, Allowed("1 to 255 printable ASCII characters")] = Field(
        None, pattern=r"^[ -~]{1,255}$", description="User of a login with PLAIN or SCRAM."
    )
    kafka_password: SecretStr | None = Field(None, description="Password of a login with PLAIN or SCRAM.")
    kafka_password_file: Path | None = Field(
        None, description="File that holds the value of ELS_KAFKA_PASSWORD; it is read again for each login."
    )
    kafka_oauth_token_url: Annotated[types.HttpUrl | None, Allowed("https://host/path, or http://host:port/path")] = (
        Field(
            None,
            pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$",
            description="Token endpoint of a login with OAUTHBEARER, for the client credentials grant.",
        )
    )
    kafka_oauth_client_id: Annotated[str | None, Allowed("1 to 255 printable ASCII characters")] = Field(
        None, pattern=r"^[ -~]{1,255}$", description="Client id at the token endpoint."
    )
    kafka_oauth_client_secret: SecretStr | None = Field(None, description="Client secret at the token endpoint.")
    kafka_oauth_client_secret_file: Path | None = Field(
        None, description="File that holds the value of ELS_KAFKA_OAUTH_CLIENT_SECRET; it is read again for each token."
    )
    kafka_oauth_scope: Annotated[str | None, Allowed("text")] = Field(
        None, description="Scope of the tokens, if the endpoint wants one."
    )
    kafka_oauth_ca_file: Path | None = Field(
        None, description="CA certificates that sign the token endpoint's (PEM); unset: those of the system."
    )
    kafka_max_idle_seconds: types.Seconds = Field(
        DEFAULT_IDLE_SECONDS,
        ge=1,
        le=3600,
        description="Close connections to Kafka that are idle for this long; less than a firewall on the way does.",
    )
