"""The JSON API behind the dashboard, open to scripts too: batches, status and history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import unquote

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.domain.batch_timeline import timeline
from els_stream.domain.waiting import is_stuck, waits_for
from els_stream.maintenance.replay import Replayed
from els_stream.queries import listing
from els_stream.queries.batch_detail import read_batch_detail
from els_stream.queries.listing import BatchFilter
from els_stream.queries.stats import CLASS_TYPES
from els_stream.web.dead_letter_api import DeadLetterApi
from els_stream.web.history import INTERVAL_SECONDS, StatsHistory
from els_stream.web.json_response import json_response
from els_stream.web.problems import not_found
from els_stream.web.query_params import QueryParams, encode_cursor
from els_stream.web.snapshot import snapshot

# A batch may have ten thousand slots: the page shows the newest moments of slots, texts and dead letters.
MAX_MOMENTS: Final = 500
MAX_LISTED: Final = 100
BATCHES_PATH: Final = "/api/batches/"
MAX_ID_LENGTH: Final = 255
_NO_BATCH: Final = "no event of this batch was ever received"


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
        DeadLetterApi(self.engine, self.replay).add_to(app)

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
        params = QueryParams(request.query, ("state", "class_type", "older_than", "younger_than", "prefix"))
        if (prefix := params.text("prefix")) is not None:
            return await self._find_batches(prefix, params.limit())
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

    async def _find_batches(self, prefix: str, limit: int) -> web.Response:
        """Answer with the batches whose id begins with `prefix`; other parameters than the limit do not count."""
        found: list[listing.BatchSummary] = []
        if 0 < len(prefix) <= MAX_ID_LENGTH and "\0" not in prefix:
            async with snapshot(self.engine) as conn:
                found = await listing.batches_by_prefix(conn, prefix, limit)
        return json_response({"batches": [asdict(line) for line in found], "next": None})

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
