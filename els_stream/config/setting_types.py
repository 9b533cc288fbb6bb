"""Types of settings: unit and check, shared by all fields of the type."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AllowInfNan, BeforeValidator, SecretStr

from els_stream.config import urls
from els_stream.config.settings_reference import Allowed, Unit

LONG_AND_PRINTABLE = "16 to 255 printable ASCII characters, no spaces"
CHECKOUT = Path(__file__).resolve().parent.parent.parent


def database_url(url: SecretStr) -> SecretStr:
    """Return the URL with the driver's name in its scheme; raises ValueError if it is no PostgreSQL URL."""
    return SecretStr(urls.check_database_url(url.get_secret_value().strip()))


def in_lower_case(value: object) -> object:
    """Return a text in lower case, for choices that are read in any case, such as INFO."""
    return value.lower() if isinstance(value, str) else value


def in_upper_case(value: object) -> object:
    """Return a text in upper case, for choices that are read in any case, such as sasl_ssl."""
    return value.upper() if isinstance(value, str) else value


def token(secret: SecretStr) -> SecretStr:
    """Return the token if it fits into a header and is too long to guess; raises ValueError without the value."""
    if re.fullmatch(r"[!-~]{16,255}", secret.get_secret_value()) is None:
        raise ValueError(f"must be {LONG_AND_PRINTABLE}")
    return secret


def in_checkout(path: Path) -> Path:
    """Resolve a path against the checkout, so that commands from any folder find the same servers.

    An installed package has no checkout: the path is then relative to the current folder.
    """
    root = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()
    return root / path


AnyCaseLower = BeforeValidator(in_lower_case)
AnyCaseUpper = BeforeValidator(in_upper_case)
Bootstrap = Annotated[str, AfterValidator(urls.check_bootstrap)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(database_url)]
Token = Annotated[SecretStr, AfterValidator(token)]
Folder = Annotated[Path, AfterValidator(in_checkout), Allowed("a folder")]
Name = Annotated[str, Allowed("1 to 200 letters, digits, dots, underscores and hyphens")]
Prefix = Annotated[str, Allowed("up to 100 letters, digits, dots, underscores and hyphens")]
HttpUrl = Annotated[str, Allowed("http://host:port/path, or https")]
Host = Annotated[str, Allowed("a host name or an IP address")]
Port = Annotated[int, Unit("port")]
Bytes = Annotated[int, Unit("bytes")]
Days = Annotated[int, Unit("days")]
Hours = Annotated[float, Unit("hours"), AllowInfNan(allow_inf_nan=False)]
Number = Annotated[int, Unit("count")]
Records = Annotated[int, Unit("records")]
Rows = Annotated[int, Unit("rows")]
Seconds = Annotated[float, Unit("seconds"), AllowInfNan(allow_inf_nan=False)]
