"""The internals of aiokafka 0.14 that the watch over the consumer's group uses, and a table that a test verifies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from typing import Final, Protocol, cast

from els_stream.consumer.faust_internals import OverriddenInternal

_coordinator = attrgetter("_coordinator")
_coordination = attrgetter("_coordinator._coordination_task")
_pending_error = attrgetter("_coordinator._pending_exception")
_heartbeats = attrgetter("_coordinator._heartbeat_task")
_instance_id = attrgetter("_coordinator._group_instance_id")


class Coordinator(Protocol):
    """The methods of aiokafka's group coordinator that are used here."""

    generation: int
    member_id: str
    reset_generation: Callable[[], None]

    def check_errors(self) -> None:
        """Raise the error at which the coordinator waits, and let it go on."""

    def request_rejoin(self) -> None: ...


def coordinator(consumer: object) -> Coordinator:
    return cast("Coordinator", _coordinator(consumer))


def coordination_ended(consumer: object) -> bool:
    return bool(_coordination(consumer).done())


def coordination_error(consumer: object) -> BaseException | None:
    """Return the error at which the coordinator waits, or with which it ended."""
    task: asyncio.Task[None] = _coordination(consumer)
    if not task.done():
        return cast("BaseException | None", _pending_error(consumer))
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def sends_heartbeats(consumer: object) -> bool:
    """Return whether the consumer has joined its group, and no error ended its heartbeats."""
    task = _heartbeats(consumer)
    return task is not None and not task.done()


def has_static_membership(consumer: object) -> bool:
    return _instance_id(consumer) is not None


def joins_group(consumer: object) -> bool:
    """Return whether the current task is the coordinator's own, the only one that joins the group."""
    return asyncio.current_task() is _coordination(consumer)


_COORDINATOR: Final = "aiokafka.consumer.group_coordinator:GroupCoordinator."
_JOIN: Final = "aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance."

USED_BY_GROUP_WATCH: Final = (
    OverriddenInternal(_COORDINATOR + "_heartbeat_routine", source="else: await self._maybe_leave_group()"),
    OverriddenInternal(
        _COORDINATOR + "ensure_active_group",
        source="if prev_assignment is not None and idle_time >= self._max_poll_interval:",
    ),
    # The coordinator waits at an error until `check_errors`. After an error of its heartbeats only a rejoin helps.
    OverriddenInternal(_COORDINATOR + "_push_error_to_user", source="self._pending_exception = exc"),
    OverriddenInternal(_COORDINATOR + "check_errors", source="self._error_consumed_fut.set_result(None)"),
    OverriddenInternal(_COORDINATOR + "need_rejoin", source="self._rejoin_needed_fut.done()"),
    OverriddenInternal(_COORDINATOR + "ensure_active_group", source="await self._stop_heartbeat_task()"),
    # A join with the old member id shows whether another process has taken the place of a static member.
    OverriddenInternal(_COORDINATOR + "reset_generation", "(self)"),
    OverriddenInternal(_COORDINATOR + "_do_heartbeat", source="self.reset_generation()"),
    OverriddenInternal(_COORDINATOR + "_do_commit_offsets", source="self.reset_generation() errored[tp] = error"),
    OverriddenInternal(
        _COORDINATOR + "_GroupCoordinator__coordination_routine", source="await self.ensure_active_group("
    ),
    OverriddenInternal(_JOIN + "perform_group_join", source="self._coordinator.reset_generation()"),
)
