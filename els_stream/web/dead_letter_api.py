"""The JSON API of dead letters: lists, groups of them alike, and replays of one or of a group."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from time import monotonic
from typing import Final, assert_never

import structlog
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.topics import INPUT_TOPICS
from els_stream.maintenance.replay import Accepted, FailedAgain, NotReplayable, Replayed
from els_stream.printable import decoded
from els_stream.queries import dead_letter_admin, dead_letter_groups
from els_stream.queries.dead_letter_admin import DeadLetterFilter, DeadLetterRecord
from els_stream.web.json_response import json_response
from els_stream.web.problems import Problem, ProblemCode, bad_request, not_found
from els_stream.web.query_params import QueryParams, encode_cursor
from els_stream.web.snapshot import snapshot

MAX_VALUE_BYTES: Final = 16 * 1024
REPLAY_TIMEOUT_SECONDS: Final = 20.0
# A request replays what fits into this time; the page asks again for the rest.
GROUP_SECONDS: Final = 5.0
GROUP_PAGE: Final = 100
_REASONS: Final = [reason.value for reason in DeadLetterReason]
_NO_DEAD_LETTER: Final = "there is no such dead letter"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetterApi:
    """`replay` replays one dead letter by its id."""

    engine: AsyncEngine
    replay: Callable[[int], Awaitable[Replayed]]

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/dead-letters", self.list_dead_letters)
        app.router.add_get("/api/dead-letters/{dead_letter_id}", self.show_dead_letter)
        app.router.add_post("/api/dead-letters/{dead_letter_id}/replay", self.replay_dead_letter)
        app.router.add_get("/api/dead-letter-groups", self.list_groups)
        app.router.add_post("/api/dead-letter-groups/replay", self.replay_group)

    async def list_dead_letters(self, request: web.Request) -> web.Response:
        params = QueryParams(request.query, ("state", "reason", "field", "topic", "batch_id"))
        filters = DeadLetterFilter(
            state=params.one_of("state", dead_letter_admin.DEAD_LETTER_STATES),
            reason=params.text("reason"),
            field=params.text("field"),
            topic=params.one_of("topic", INPUT_TOPICS),
            batch_id=params.text("batch_id"),
        )
        limit, before = params.limit(), params.dead_letter_cursor()
        if "\0" in f"{filters.batch_id}{filters.field}":
            return json_response({"dead_letters": [], "next": None})
        async with snapshot(self.engine) as conn:
            await _check_reason(conn, filters.reason)
            found = await dead_letter_admin.newest(conn, filters, limit + 1, before)
        page = found[:limit]
        return json_response(
            {
                "dead_letters": [{**asdict(summary), "place": summary.place} for summary in page],
                "next": encode_cursor(page[-1].id) if len(found) > limit else None,
            }
        )

    async def show_dead_letter(self, request: web.Request) -> web.Response:
        async with snapshot(self.engine) as conn:
            dead_letter = await dead_letter_admin.read(conn, dead_letter_id_from_path(request))
        if dead_letter is None:
            raise not_found(_NO_DEAD_LETTER)
        return json_response(dead_letter_json(dead_letter))

    async def replay_dead_letter(self, request: web.Request) -> web.Response:
        dead_letter_id = dead_letter_id_from_path(request)
        async with snapshot(self.engine) as conn:
            if await dead_letter_admin.read(conn, dead_letter_id) is None:
                raise not_found(_NO_DEAD_LETTER)
        async with asyncio.timeout(REPLAY_TIMEOUT_SECONDS):
            replayed = await self.replay(dead_letter_id)
        match replayed:
            case Accepted(label):
                outcome, detail = label, ""
            case FailedAgain(reason, message):
                outcome, detail = "failed_again", f"{reason}: {message}"
            case NotReplayable(why):
                raise Problem(HTTPStatus.CONFLICT, ProblemCode.NOT_REPLAYABLE, why)
            case _:
                assert_never(replayed)
        log.info("dead letter replayed", dead_letter=dead_letter_id, outcome=outcome)
        return json_response({"id": dead_letter_id, "outcome": outcome, "detail": detail})

    async def list_groups(self, _: web.Request) -> web.Response:
        async with snapshot(self.engine) as conn:
            groups = await dead_letter_groups.read_groups(conn)
        return json_response({"groups": [asdict(group) for group in groups]})

    async def replay_group(self, request: web.Request) -> web.Response:
        """Replay the open dead letters of a group with ids above `after` and up to `last`, the oldest first.

        The answer counts outcomes; its `after` is for the next request, null when none is left. A record that fails
        again leaves a dead letter with an id above `last`, so it is tried once.
        """
        params = QueryParams(request.query, ("reason", "field", "topic", "after", "last"))
        filters = DeadLetterFilter(
            state="open",
            reason=params.text("reason"),
            field=(params.text("field") or "").replace("\0", ""),
            topic=params.one_of("topic", INPUT_TOPICS),
        )
        after, last = params.number("after"), params.number("last")
        async with snapshot(self.engine) as conn:
            await _check_reason(conn, filters.reason)
            ids = await dead_letter_admin.list_ids(conn, filters, after=after, last=last, limit=GROUP_PAGE)
        outcomes: Counter[str] = Counter()
        started = monotonic()
        for dead_letter_id in ids:
            if monotonic() - started > GROUP_SECONDS:
                break
            outcomes[await self._replay_of_group(dead_letter_id)] += 1
            after = dead_letter_id
        log.info("dead letters replayed", reason=filters.reason, field=filters.field, outcomes=dict(outcomes))
        is_last = outcomes.total() == len(ids) < GROUP_PAGE
        return json_response({"outcomes": dict(outcomes), "after": None if is_last else after})

    async def _replay_of_group(self, dead_letter_id: int) -> str:
        async with asyncio.timeout(REPLAY_TIMEOUT_SECONDS):
            replayed = await self.replay(dead_letter_id)
        match replayed:
            case Accepted(_):
                return "replayed"
            case FailedAgain(_, _):
                return "failed_again"
            case NotReplayable(_):
                return "not_replayable"
            case _:
                assert_never(replayed)


async def _check_reason(conn: AsyncConnection, reason: str | None) -> None:
    """Raise Problem with status 400 for a reason that is neither known nor in the table."""
    if reason is None:
        return
    if re.fullmatch(r"[a-z0-9_]+", reason) is None or not await dead_letter_admin.is_reason(conn, reason):
        raise bad_request(f"reason must be one of: {', '.join(_REASONS)}")


def dead_letter_json(dead_letter: DeadLetterRecord) -> dict[str, object]:
    """Return key, headers and value as printable text: other characters, and bytes that are no UTF-8, are escaped."""
    record = dead_letter.record
    value = None if record.value is None else decoded(record.value[:MAX_VALUE_BYTES])
    return {
        **asdict(dead_letter.summary),
        "place": dead_letter.summary.place,
        "value_sha256": dead_letter.value_sha256.hex(),
        "key": None if record.key is None else decoded(record.key[:MAX_VALUE_BYTES]),
        "headers": [
            [decoded(name.encode(errors="surrogateescape")), decoded(text[:MAX_VALUE_BYTES])]
            for name, text in record.headers
        ],
        "value": value,
        "value_truncated": len(record.value or b"") > MAX_VALUE_BYTES,
        "replayable": dead_letter.summary.state == "open" and not dead_letter.value_is_gone,
    }


def dead_letter_id_from_path(request: web.Request) -> int:
    """Return the id in the path. Raises Problem with status 404 for a text that can't be an id."""
    text = request.match_info["dead_letter_id"]
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise not_found(_NO_DEAD_LETTER)
    return int(text)
