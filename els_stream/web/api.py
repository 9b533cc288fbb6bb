"""The JSON that the page is made of, and scripts may use: batches, stories, dead letters, status, history."""

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
from els_stream.queries.batch_detail import read_story
from els_stream.queries.dead_letter_admin import DeadLetterFilter, DeadLetterRecord
from els_stream.queries.listing import BatchFilter
from els_stream.queries.stats import CLASS_TYPES
from els_stream.web.history import STEP_SECONDS, StatsHistory
from els_stream.web.problems import Problem, ProblemCode, not_found
from els_stream.web.query_params import QueryParams, cursor
from els_stream.web.snapshot import snapshot

SHOWN_BYTES: Final = 16 * 1024
# A batch may have ten thousand slots: the page shows the newest moments of slots, texts and dead letters.
MAX_MOMENTS: Final = 500
LISTED: Final = 100
REPLAY_SECONDS: Final = 20.0
BATCH: Final = "/api/batches/"
LONGEST_ID: Final = 255

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Api:
    """`status` tells what this worker knows of itself; `replay` takes one dead letter in hand."""

    engine: AsyncEngine
    glances: StatsHistory
    status: Callable[[], Mapping[str, object]]
    replay: Callable[[int], Awaitable[Replayed]]

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/status", self.show_status)
        app.router.add_get("/api/history", self.show_history)
        app.router.add_get("/api/batches", self.list_batches)
        app.router.add_get(BATCH + r"{batch_id:[\s\S]+}", self.tell_batch)
        app.router.add_get("/api/dead-letters", self.list_letters)
        app.router.add_get("/api/dead-letters/{letter_id}", self.show_letter)
        app.router.add_post("/api/dead-letters/{letter_id}/replay", self.replay_letter)

    async def show_status(self, _: web.Request) -> web.Response:
        return answer(self.status())

    async def show_history(self, _: web.Request) -> web.Response:
        steps = list(self.glances.steps)
        return answer(
            {
                "step_seconds": STEP_SECONDS,
                "intake_per_second": [step.intake_per_second for step in steps],
                "completion_seconds": [step.completion_seconds for step in steps],
                "outbox_oldest_seconds": [step.outbox_oldest_seconds for step in steps],
            }
        )

    async def list_batches(self, request: web.Request) -> web.Response:
        asked = QueryParams(request.query, ("state", "class_type", "older_than", "younger_than"))
        chosen = BatchFilter(
            state=asked.one_of("state", listing.BATCH_STATES),
            class_type=asked.one_of("class_type", CLASS_TYPES),
            older_than=asked.age("older_than"),
            younger_than=asked.age("younger_than"),
        )
        limit, before = asked.limit(), asked.batch_cursor()
        async with snapshot(self.engine) as conn:
            found = await listing.newest_batches(conn, chosen, limit + 1, before)
        page = found[:limit]
        more = cursor(page[-1].created_at.isoformat(), page[-1].batch_id) if len(found) > limit else None
        return answer({"batches": [asdict(line) for line in page], "next": more})

    async def tell_batch(self, request: web.Request) -> web.Response:
        batch_id = named_in(request)
        async with snapshot(self.engine) as conn:
            story = await read_story(conn, batch_id)
            files = await listing.read_files(conn, batch_id)
        if story is None:
            raise not_found("nothing ever came for this batch")
        history = timeline(story, files, MAX_MOMENTS)
        return answer(
            {
                **asdict(story),
                "waits_for": waits_for(story),
                "stuck": is_stuck(story),
                "slots": len(story.slots),
                "excess": len(story.excess),
                "waiting": [asdict(event) for event in story.waiting[:LISTED]],
                "waiting_count": len(story.waiting),
                "dead_letters": [asdict(letter) for letter in story.dead_letters[:LISTED]],
                "dead_letters_count": len(story.dead_letters),
                "timeline": [asdict(moment) for moment in history.moments],
                "timeline_omitted": history.omitted,
            }
        )

    async def list_letters(self, request: web.Request) -> web.Response:
        asked = QueryParams(request.query, ("state", "reason", "batch_id"))
        chosen = DeadLetterFilter(
            state=asked.one_of("state", dead_letter_admin.DEAD_LETTER_STATES),
            reason=asked.one_of("reason", [reason.value for reason in DeadLetterReason]),
            batch_id=asked.text("batch_id"),
        )
        limit, before = asked.limit(), asked.letter_cursor()
        if "\0" in (chosen.batch_id or ""):
            return answer({"dead_letters": [], "next": None})
        async with snapshot(self.engine) as conn:
            found = await dead_letter_admin.newest(conn, chosen, limit + 1, before)
        page = found[:limit]
        more = cursor(page[-1].id) if len(found) > limit else None
        return answer({"dead_letters": [{**asdict(letter), "place": letter.place} for letter in page], "next": more})

    async def show_letter(self, request: web.Request) -> web.Response:
        async with snapshot(self.engine) as conn:
            whole = await dead_letter_admin.read(conn, letter_named_in(request))
        if whole is None:
            raise not_found("there is no such dead letter")
        return answer(shown(whole))

    async def replay_letter(self, request: web.Request) -> web.Response:
        letter_id = letter_named_in(request)
        async with snapshot(self.engine) as conn:
            if await dead_letter_admin.read(conn, letter_id) is None:
                raise not_found("there is no such dead letter")
        async with asyncio.timeout(REPLAY_SECONDS):
            replayed = await self.replay(letter_id)
        match replayed:
            case Accepted(label):
                outcome, detail = label, ""
            case FailedAgain(reason, message):
                outcome, detail = "failed_again", f"{reason}: {message}"
            case NotReplayable(why):
                raise Problem(HTTPStatus.CONFLICT, ProblemCode.NOT_REPLAYABLE, why)
            case _:
                assert_never(replayed)
        log.info("dead letter replayed", dead_letter=letter_id, outcome=outcome)
        return answer({"id": letter_id, "outcome": outcome, "detail": detail})


def shown(whole: DeadLetterRecord) -> dict[str, object]:
    """Bytes as text that is safe to look at: what is not printable, or no UTF-8, is escaped."""
    record = whole.record
    value = None if record.value is None else decoded(record.value[:SHOWN_BYTES])
    return {
        **asdict(whole.summary),
        "place": whole.summary.place,
        "value_sha256": whole.value_sha256.hex(),
        "key": None if record.key is None else decoded(record.key[:SHOWN_BYTES]),
        "headers": [[decoded(name.encode()), decoded(text[:SHOWN_BYTES])] for name, text in record.headers],
        "value": value,
        "value_cut": len(record.value or b"") > SHOWN_BYTES,
        "replayable": whole.summary.state == "open" and not whole.value_is_gone,
    }


def named_in(request: web.Request) -> str:
    """Ids hold any character, slashes too: from the raw path, unquoted once. Raises Problem for what can be none."""
    try:
        batch_id = unquote(request.rel_url.raw_path.removeprefix(BATCH), errors="strict")
    except UnicodeDecodeError:
        batch_id = ""
    if not 0 < len(batch_id) <= LONGEST_ID or "\0" in batch_id:
        raise not_found("nothing ever came for this batch")
    return batch_id


def letter_named_in(request: web.Request) -> int:
    named = request.match_info["letter_id"]
    if re.fullmatch(r"[0-9]{1,18}", named) is None:
        raise not_found("there is no such dead letter")
    return int(named)


def answer(body: Mapping[str, object]) -> web.Response:
    stamped = {**body, "at": datetime.now(UTC)}
    return web.json_response(text=json.dumps(stamped, default=_encoded, ensure_ascii=False, separators=(",", ":")))


def _encoded(value: object) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
