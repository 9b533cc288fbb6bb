"""Every error that may cross the command line, the web or a dead letter.

    ElsError
    ├── ConfigurationError         exit 2   a setting is wrong
    │   ├── ServersMissing         exit 2   neither settings nor running servers name a broker and a database
    │   └── SchemaOutdated         exit 2   the database is older than the code
    ├── ServersUnavailable         exit 3   a server did not start, answer or stop
    ├── OutboxConflict             one event id, two contents
    ├── InventoryMismatch          counters and rows of a batch disagree: recount them
    └── DemoFailed                 exit 1   the demo found a difference

`events.violation.ContractViolation`, an ElsError too, is raised for a record that breaks its contract.

What a caller can expect to happen is an outcome, not an error. `code` is stable: logs, metrics and readers of
dead letters may rely on it, whatever the message says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection


class ElsError(Exception):
    """The message is one line and holds no secret and nothing of a student: it is shown as it is."""

    code: ClassVar[str] = "els_error"
    exit_code: ClassVar[int] = 1


class ConfigurationError(ElsError):
    """The process must not start: trying again without a change can't help."""

    code = "configuration"
    exit_code = 2


class ServersMissing(ConfigurationError):
    code = "servers_missing"


class SchemaOutdated(ConfigurationError):
    code = "schema_outdated"


class ServersUnavailable(ElsError):
    code = "servers_unavailable"
    exit_code = 3


class OutboxConflict(ElsError):
    """An event id that is in the outbox was written again with other bytes: a bug, never an update."""

    code = "outbox_conflict"


class InventoryMismatch(ElsError):
    """`batch_ids` are those whose rows should be counted again."""

    code = "inventory_mismatch"

    def __init__(self, message: str, batch_ids: Collection[str] = ()) -> None:
        super().__init__(message)
        self.batch_ids = frozenset(batch_ids)


class DemoFailed(ElsError):
    code = "demo_failed"
