"""Settings that had another name in 0.1. Release 0.2 still reads the old name and warns; a later release will not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from els_stream.errors import ConfigurationError

RENAMED: Final[Mapping[str, str]] = {
    "ELS_LANE_RECORDS": "ELS_BUFFERED_RECORDS_PER_PARTITION",
    "ELS_LANE_BYTES": "ELS_BUFFERED_BYTES_PER_PARTITION",
    "ELS_SWEEP_INTERVAL_SECONDS": "ELS_REPAIR_INTERVAL_SECONDS",
    "ELS_FIGURES_INTERVAL_SECONDS": "ELS_STATS_INTERVAL_SECONDS",
    "ELS_PARKED_RETENTION_DAYS": "ELS_PENDING_RETENTION_DAYS",
    "ELS_MAX_PARKED_PER_BATCH": "ELS_MAX_PENDING_PER_BATCH",
    "ELS_STALLED_AFTER_SECONDS": "ELS_LIVENESS_STALL_SECONDS",
}
_PREFIX: Final = "ELS_"


def renamed_variables(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the values given under old names, by the field's name, and one warning line for each.

    Names are compared without case and an empty value counts as unset, as for any setting.
    Raises ConfigurationError where the old and the new name are set to different values.
    """
    given = {name.upper(): value for name, value in environ.items() if value}
    values: dict[str, str] = {}
    warnings: list[str] = []
    for old, new in RENAMED.items():
        if old not in given:
            continue
        if given.get(new, given[old]) != given[old]:
            raise ConfigurationError(f"{old} is the old name of {new}, and both are set to different values")
        values[new.removeprefix(_PREFIX).lower()] = given[old]
        warnings.append(f"{old} is now {new}: rename it, the old name works in 0.2 only")
    return values, warnings
