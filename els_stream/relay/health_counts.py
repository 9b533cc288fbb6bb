"""What the relay tells of itself: counts, and which of its parts are not working now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import structlog

log = structlog.get_logger(__name__)

ERROR_CHARACTERS: Final = 300


@dataclass(slots=True)
class RelayHealth:
    """Counts are since the start. A trouble is logged when it comes, when it changes its kind, and when it is over."""

    in_flight: int = 0
    acked: int = 0
    refused: int = 0
    troubles: dict[str, str] = field(default_factory=dict)
    _kinds: dict[str, type[BaseException]] = field(default_factory=dict)

    def trouble(self, part: str, error: BaseException) -> None:
        told = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
        self.troubles[part] = told
        if self._kinds.get(part) is not type(error):
            self._kinds[part] = type(error)
            log.warning("relay_component_failed", component=part, error=told)

    def fine(self, part: str) -> None:
        if self.troubles.pop(part, None) is not None:
            self._kinds.pop(part, None)
            log.info("relay_component_recovered", component=part)
