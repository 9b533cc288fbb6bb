"""What a test asks the database of a `DemoEnvironment`."""

from __future__ import annotations

STORED_OFFSETS = "SELECT topic, partition, next_offset FROM consumed_offsets"
READ_OFFSETS = "SELECT topic, partition, greatest(next_offset, read_until) FROM consumed_offsets"
RANGES_TAKEN_FOR_LOST = "SELECT count(*) FROM skipped_offsets"
HANDLED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumed_offsets"
WAITING = """
    SELECT (SELECT count(*) FROM event_outbox) + (SELECT coalesce(sum(events), 0) FROM outbox_segments)::bigint
"""

UNSENT = """
    SELECT shard, 'a segment' AS what, position, events, created_at::text FROM outbox_segments
    UNION ALL SELECT shard, topic, sequence, attempts, concat_ws(' ', next_attempt_at, last_error) FROM event_outbox
    LIMIT 20
"""
