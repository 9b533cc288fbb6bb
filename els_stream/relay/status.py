"""What the relay reports of itself: counters, and the components that are failing now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import structlog

log = structlog.get_logger(__name__)

MAX_ERROR_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """A snapshot for metrics, readiness and the status page.

    `members` counts the living relays, this one included. `acked` and `rejected` count since the start. `errors` has
    the error of each component that is failing now.
    """

    shards: int
    members: int
    in_flight: int
    acked: int
    rejected: int
    errors: dict[str, str]


@dataclass(slots=True)
class RelayHealth:
    """Counters since the start and the errors of failing components, which all parts of one relay update.

    An error is logged when it appears and when its type changes; the recovery is logged once.
    """

    in_flight: int = 0
    acked: int = 0
    rejected: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    _types: dict[str, type[BaseException]] = field(default_factory=dict)

    def set_error(self, component: str, error: BaseException) -> None:
        message = f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS]
        self.errors[component] = message
        if self._types.get(component) is not type(error):
            self._types[component] = type(error)
            log.warning("relay_component_failed", component=component, error=message)

    def clear_error(self, component: str) -> None:
        if self.errors.pop(component, None) is not None:
            self._types.pop(component, None)
            log.info("relay_component_recovered", component=component)
