"""The errors that commands, web API and dead letters may show.

    ElsError
    ├── ConfigurationError         exit 2   a setting is wrong
    │   ├── ServersMissing         exit 2   no address of broker and database, and no running servers
    │   ├── DatabaseUnusable       exit 2   the database's address, or the pooler before it, can't serve
    │   └── SchemaOutdated         exit 2   the database is older than the code
    ├── ServersUnavailable         exit 3   a server did not start, answer or stop
    ├── OutboxConflict             an event id is in the outbox already
    ├── InventoryMismatch          counters and rows of a batch disagree
    └── DemoFailed                 exit 1   the demo found a difference

`events.violation.ContractViolation` is an ElsError too: a record breaks its contract.

Expected results of processing are outcomes, not errors. `code` is stable, unlike the message: logs, metrics and
consumers of dead letters may rely on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection


class ElsError(Exception):
    """Base of all errors. The message is one line without secrets and student data, fit to be shown."""

    code: ClassVar[str] = "els_error"
    exit_code: ClassVar[int] = 1


class ConfigurationError(ElsError):
    """The process can't start; a retry without a change can't help."""

    code = "configuration"
    exit_code = 2


class ServersMissing(ConfigurationError):
    """Broker or database have no address, and no servers of `els up` run."""

    code = "servers_missing"


class DatabaseUnusable(ConfigurationError):
    """No session can be had as this service needs it: a certificate's file is wrong, or a pooler keeps no sessions.

    A process that starts ends with it; a running one waits for a change.
    """

    code = "database_unusable"


class SchemaOutdated(ConfigurationError):
    """The database needs `els migrate`."""

    code = "schema_outdated"


class ServersUnavailable(ElsError):
    """A server did not start, answer or stop in time."""

    code = "servers_unavailable"
    exit_code = 3


class OutboxConflict(ElsError):
    """An event id was written to the outbox a second time, with any bytes: a bug."""

    code = "outbox_conflict"


class InventoryMismatch(ElsError):
    """The counters of a batch promised slots that its rows do not have; `batch_ids` are to be recounted."""

    code = "inventory_mismatch"

    def __init__(self, message: str, batch_ids: Collection[str] = ()) -> None:
        super().__init__(message)
        self.batch_ids = frozenset(batch_ids)


class DemoFailed(ElsError):
    """The demo found a difference between expected and observed events."""

    code = "demo_failed"
