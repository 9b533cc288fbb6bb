"""Many batches made by SQL, as in the tables of a service that has run for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.domain.claim_strategy import SlotTable

_TRACKERS: Final = text("""
    INSERT INTO batch_essay_trackers (
        batch_id, state, class_type, inventory, registration_digest, course_code, user_id, correlation_id,
        expected_count, free_count, filled_count, deadline_at, created_at, registered_at, content_completed_at,
        completed_at
    )
    SELECT concat(CAST(:name AS text), '-', lpad(CAST(n AS text), 8, '0')),
           CASE WHEN c.filled = c.slots THEN 'completed' ELSE 'open' END,
           'GUEST', :inventory, sha256(int8send(n)), 'ENG6', 'ms-frizzle', gen_random_uuid(),
           c.slots, c.slots - c.filled, c.filled,
           t.then + interval '72 h', t.then, t.then, CASE WHEN c.filled = c.slots THEN t.then END,
           CASE WHEN c.filled = c.slots THEN t.then END
    FROM (SELECT CAST(:slots AS int) AS slots, CAST(:filled AS int) AS filled) c
    CROSS JOIN generate_series(CAST(:first AS bigint), :last) AS n
    CROSS JOIN LATERAL (SELECT now() - make_interval(days => :days) - n * interval '1 ms' AS then) t
""")
_ESSAYS: Final = text("""
    INSERT INTO essay_states (
        batch_id, essay_id, current_status, text_storage_id, file_upload_id, original_file_name, raw_file_storage_id,
        file_size_bytes, content_md5_hash, correlation_id, filled_at
    )
    SELECT i.batch_id, i.id, CASE WHEN filled THEN 'ready_for_processing' ELSE 'uploaded' END,
           CASE WHEN filled THEN 'text-' || i.id END, CASE WHEN filled THEN 'upload-' || i.id END,
           CASE WHEN filled THEN 'Hamlet Should Have Texted.docx' END, CASE WHEN filled THEN 'raw-' || i.id END,
           CASE WHEN filled THEN 4096 END, CASE WHEN filled THEN 'd41d8cd98f00b204e9800998ecf8427e' END,
           CASE WHEN filled THEN gen_random_uuid() END, CASE WHEN filled THEN now() END
    FROM generate_series(CAST(:first AS bigint), :last) AS n
    CROSS JOIN generate_series(1, CAST(:slots AS int)) AS e
    CROSS JOIN LATERAL (
        SELECT concat(CAST(:name AS text), '-', lpad(CAST(n AS text), 8, '0')) AS batch_id,
               concat('essay-', lpad(CAST(n AS text), 8, '0'), '-', lpad(CAST(e AS text), 5, '0')) AS id,
               e <= CAST(:filled AS int) AS filled
    ) i
""")
_SLOTS: Final = text("""
    INSERT INTO slot_assignments (batch_id, essay_id, status, text_storage_id, file_upload_id, assigned_at)
    SELECT batch_id, essay_id, CASE WHEN text_storage_id IS NULL THEN 'available' ELSE 'assigned' END,
           text_storage_id, file_upload_id, filled_at
    FROM essay_states WHERE batch_id LIKE concat(CAST(:name AS text), '-%')
""")


@dataclass(frozen=True, slots=True)
class BulkData:
    """`batches` of `slots` each, of which `filled` hold a content, made `days` ago; complete if all are filled."""

    name: str
    batches: int
    slots: int
    filled: int
    days: int = 0
    inventory: SlotTable = SlotTable.ESSAY_STATES

    def batch_id(self, number: int) -> str:
        """Return the id of a batch; numbers start at 1."""
        return f"{self.name}-{number:08}"

    def essay_id(self, number: int, slot: int) -> str:
        return f"essay-{number:08}-{slot:05}"

    async def add_trackers(self, conn: AsyncConnection, first: int = 1, last: int | None = None) -> None:
        """Add the trackers from `first` to `last` (default: all), without their slots."""
        params = {"name": self.name, "slots": self.slots, "filled": self.filled, "days": self.days}
        params |= {"first": first, "last": last or self.batches}
        await conn.execute(_TRACKERS, {**params, "inventory": self.inventory})

    async def add(self, conn: AsyncConnection, first: int = 1, last: int | None = None) -> None:
        """Add the batches from `first` to `last` (default: all)."""
        await self.add_trackers(conn, first, last)
        params = {"name": self.name, "slots": self.slots, "filled": self.filled}
        params |= {"first": first, "last": last or self.batches}
        # Skips the foreign key checks, which take half of the time: the trackers were just added.
        await conn.execute(text("SET LOCAL session_replication_role = replica"))
        await conn.execute(_ESSAYS, params)
        if self.inventory is SlotTable.SLOT_ASSIGNMENTS:
            await conn.execute(_SLOTS, {"name": self.name})
        await conn.execute(text("SET LOCAL session_replication_role = origin"))
