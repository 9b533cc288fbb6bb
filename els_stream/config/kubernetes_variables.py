"""The variables that Kubernetes sets in each pod for the Services of its namespace.

For a Service `els` they are ELS_SERVICE_HOST, ELS_PORT=tcp://10.0.0.1:6066, ELS_PORT_6066_TCP_ADDR and the like, and
for a Service `els-web` one is called like our setting ELS_WEB_PORT.
See https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_\d{1,5}_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$"
)
_PORT: Final = "_PORT"
_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://\S*")


def is_service_variable(name: str, value: object) -> bool:
    """Return whether Kubernetes set this variable: by its name, or by its value if a setting may have the name too."""
    upper = name.upper()
    if upper.endswith(_PORT) and isinstance(value, str) and _ADDRESS.fullmatch(value):
        return True
    return _NAME.search(upper) is not None


def service_warnings(prefix: str, environ: Mapping[str, str]) -> list[str]:
    """Return one line about the variables with this prefix that Kubernetes set, or none if there are none."""
    names = sorted(
        name for name, value in environ.items() if name.upper().startswith(prefix) and is_service_variable(name, value)
    )
    if not names:
        return []
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    how = "`enableServiceLinks: false` in the pod keeps them away"
    return [f"{names[0]}{others}: set by Kubernetes for a Service, not a setting, ignored ({how})"]
