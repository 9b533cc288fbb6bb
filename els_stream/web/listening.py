"""A check of the web server's address before anything starts."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from els_stream.errors import ConfigurationError

if TYPE_CHECKING:
    from els_stream.config.settings import Settings


def require_web_address(settings: Settings) -> None:
    """Raise ConfigurationError if no one may listen at the address; a port that is taken is replaced later."""
    try:
        found = socket.getaddrinfo(settings.web_host, settings.web_port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigurationError(
                f"ELS_WEB_HOST={settings.web_host}, ELS_WEB_PORT={settings.web_port}:"
                f" the web server can't listen there: {error.strerror}"
            ) from error
