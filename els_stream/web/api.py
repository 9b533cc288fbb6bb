"""The JSON API behind the dashboard, open to scripts too: batches, dead letters, status and history."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, assert_never
from urllib.parse import unquote

import structlog
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.domain.batch_timeline import timeline
from els_stream.domain.waiting import is_stuck, waits_for
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.maintenance.replay import Accepted, FailedAgain, NotReplayable, Replayed
from els_stream.printable import decoded
from els_stream.queries import dead_letter_admin, listing
from els_stream.queries.batch_detail import read_batch_detail
from els_stream.queries.dead_letter_admin import DeadLetterFilter, DeadLetterRecord
from els_stream.queries.listing import BatchFilter
from els_stream.queries.stats import CLASS_TYPES
from els_stream.web.history import INTERVAL_SECONDS, StatsHistory
from els_stream.web.problems import Problem, ProblemCode, not_found
from els_stream.web.query_params import QueryParams, encode_cursor
from els_stream.web.snapshot import snapshot

MAX_VALUE_BYTES: Final = 16 * 1024
# A batch may have ten thousand slots: the page shows the newest moments of slots, texts and dead letters.
MAX_MOMENTS: Final = 500
MAX_LISTED: Final = 100
REPLAY_TIMEOUT_SECONDS: Final = 20.0
BATCHES_PATH: Final = "/api/batches/"
MAX_ID_LENGTH: Final = 255
_NO_BATCH: Final = "no event of this batch was ever received"
_NO_DEAD_LETTER: Final = "there is no such dead letter"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Api:
    """`status` returns the body of `/api/status`; `replay` replays one dead letter by its id."""

    engine: AsyncEngine
    history: StatsHistory
    status: Callable[[], Mapping[str, object]]
    replay: Callable[[int], Awaitable[Replayed]]

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/status", self.show_status)
        app.router.add_get("/api/history", self.show_history)
        app.router.add_get("/api/batches", self.list_batches)
        app.router.add_get(BATCHES_PATH + r"{batch_id:[\s\S]+}", self.show_batch)
        app.router.add_get("/api/dead-letters", self.list_dead_letters)
        app.router.add_get("/api/dead-letters/{dead_letter_id}", self.show_dead_letter)
        app.router.add_post("/api/dead-letters/{dead_letter_id}/replay", self.replay_dead_letter)

    async def show_status(self, _: web.Request) -> web.Response:
        return json_response(self.status())

    async def show_history(self, _: web.Request) -> web.Response:
        samples = list(self.history.samples)
        return json_response(
            {
                "interval_seconds": INTERVAL_SECONDS,
                "records_per_second": [sample.records_per_second for sample in samples],
                "completion_seconds": [sample.completion_seconds for sample in samples],
                "outbox_oldest_seconds": [sample.outbox_oldest_seconds for sample in samples],
            }
        )

    async def list_batches(self, request: web.Request) -> web.Response:
        params = QueryParams(request.query, ("state", "class_type", "older_than", "younger_than"))
        filters = BatchFilter(
            state=params.one_of("state", listing.BATCH_STATES),
            class_type=params.one_of("class_type", CLASS_TYPES),
            older_than=params.age("older_than"),
            younger_than=params.age("younger_than"),
        )
        limit, before = params.limit(), params.batch_cursor()
        async with snapshot(self.engine) as conn:
            found = await listing.newest_batches(conn, filters, limit + 1, before)
        page = found[:limit]
        next_cursor = encode_cursor(page[-1].created_at.isoformat(), page[-1].batch_id) if len(found) > limit else None
        return json_response({"batches": [asdict(line) for line in page], "next": next_cursor})

    async def show_batch(self, request: web.Request) -> web.Response:
        batch_id = batch_id_from_path(request)
        async with snapshot(self.engine) as conn:
            batch = await read_batch_detail(conn, batch_id)
            files = await listing.read_files(conn, batch_id)
        if batch is None:
            raise not_found(_NO_BATCH)
        history = timeline(batch, files, MAX_MOMENTS)
        return json_response(
            {
                **asdict(batch),
                "waits_for": waits_for(batch),
                "stuck": is_stuck(batch),
                "slots": len(batch.slots),
                "excess": len(batch.excess),
                "waiting": [asdict(event) for event in batch.waiting[:MAX_LISTED]],
                "waiting_count": len(batch.waiting),
                "dead_letters": [asdict(dead_letter) for dead_letter in batch.dead_letters[:MAX_LISTED]],
                "dead_letters_count": len(batch.dead_letters),
                "timeline": [asdict(moment) for moment in history.moments],
                "timeline_omitted": history.omitted,
            }
        )

    async def list_dead_letters(self, request: web.Request) -> web.Response:
        params = QueryParams(request.query, ("state", "reason", "batch_id"))
        filters = DeadLetterFilter(
            state=params.one_of("state", dead_letter_admin.DEAD_LETTER_STATES),
            reason=params.one_of("reason", [reason.value for reason in DeadLetterReason]),
            batch_id=params.text("batch_id"),
        )
        limit, before = params.limit(), params.dead_letter_cursor()
        if "\0" in (filters.batch_id or ""):
            return json_response({"dead_letters": [], "next": None})
        async with snapshot(self.engine) as conn:
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


def batch_id_from_path(request: web.Request) -> str:
    """Return the batch id, unquoted once from the raw path: ids may contain any character, slashes too.

    Raises Problem with status 404 for a text that can't be an id.
    """
    try:
        batch_id = unquote(request.rel_url.raw_path.removeprefix(BATCHES_PATH), errors="strict")
    except UnicodeDecodeError:
        batch_id = ""
    if not 0 < len(batch_id) <= MAX_ID_LENGTH or "\0" in batch_id:
        raise not_found(_NO_BATCH)
    return batch_id


def dead_letter_id_from_path(request: web.Request) -> int:
    """Return the id in the path. Raises Problem with status 404 for a text that can't be an id."""
    text = request.match_info["dead_letter_id"]
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise not_found(_NO_DEAD_LETTER)
    return int(text)


def json_response(body: Mapping[str, object]) -> web.Response:
    """Answer with `body` and the worker's time as `at`."""
    stamped = {**body, "at": datetime.now(UTC)}
    return web.json_response(text=json.dumps(stamped, default=_encode, ensure_ascii=False, separators=(",", ":")))


def _encode(value: object) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
