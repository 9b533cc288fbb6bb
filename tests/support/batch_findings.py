"""The contents of the tables and of the model, in one form that can be compared."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.queries.outbox_rows import WaitingRow
from tests.support.batch_harness import KINDS
from tests.support.model import Model, ModelBatch
from tests.support.unsent_events import unsent_events

Findings = dict[str, object]

_TRACKERS = text("SELECT * FROM batch_essay_trackers")
_SLOTS = text("SELECT batch_id, file_upload_id, text_storage_id FROM essay_states WHERE file_upload_id IS NOT NULL")
_EXCESS = text("SELECT batch_id, file_upload_id, text_storage_id FROM batch_excess_content")
_FAILURES = text("SELECT batch_id, file_upload_id FROM batch_validation_failures")
_PENDING = text("SELECT batch_id, source_topic, source_offset FROM batch_pending_events ORDER BY arrival")
_DEAD_LETTERS = text("SELECT source_topic, source_offset, reason FROM dead_letters")


async def read_findings(conn: AsyncConnection) -> Findings:
    slots, excess, failures, pending = [
        await _by_batch(conn, query) for query in (_SLOTS, _EXCESS, _FAILURES, _PENDING)
    ]
    published: defaultdict[str, list[WaitingRow]] = defaultdict(list)
    for event in await unsent_events(conn):
        published[event.order_key].append(event)
    found: Findings = {
        row.batch_id: {
            "state": row.state,
            "counts": (row.expected_count or 0, row.free_count, row.filled_count, row.failed_count, row.pending_count),
            "confirmed": row.associations_confirmed_at is not None,
            "conflicts": row.conflict_count,
            "slots": {s.file_upload_id: s.text_storage_id for s in slots[row.batch_id]},
            "excess": {x.text_storage_id: x.file_upload_id for x in excess[row.batch_id]},
            "failures": {f.file_upload_id for f in failures[row.batch_id]},
            "pending": [(p.source_topic, p.source_offset) for p in pending[row.batch_id]],
            "published": [(t.sequence, KINDS[t.topic], _subject(t)) for t in published[row.batch_id]],
        }
        for row in await conn.execute(_TRACKERS)
    }
    return found | {"dead_letters": {(row[0], row[1]): row[2] for row in await conn.execute(_DEAD_LETTERS)}}


def expected_findings(model: Model) -> Findings:
    found: Findings = {batch_id: _expected(batch) for batch_id, batch in model.batches.items()}
    return found | {"dead_letters": model.dead_letters}


def _expected(batch: ModelBatch) -> Findings:
    filled, failed = len(batch.texts), len(batch.slots) - len(batch.texts)
    return {
        "state": batch.state,
        "counts": (batch.essays, batch.free, filled, failed, len(batch.pending)),
        "confirmed": batch.confirmed,
        "conflicts": batch.conflicts,
        "slots": {} if batch.purged else batch.slots,
        "excess": {} if batch.purged else batch.excess,
        "failures": set() if batch.purged else batch.failures,
        "pending": [event.source for event in batch.pending.values()],
        "published": [(number, *published) for number, published in enumerate(batch.published, start=1)][batch.sent :],
    }


def _subject(row: WaitingRow) -> str:
    """Return the text id of the event, or how many essays an event of the whole batch lists."""
    data = json.loads(row.value or b"")["data"]
    lists = [data[name] for name in ("failed_essays", "essays_for_processing", "ready_essays") if name in data]
    return f"{len(lists[0])} essays" if lists else str(data["text_storage_id"])


async def _by_batch(conn: AsyncConnection, query: TextClause) -> defaultdict[str, list[Row[Any]]]:
    found: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in await conn.execute(query):
        found[row.batch_id].append(row)
    return found
