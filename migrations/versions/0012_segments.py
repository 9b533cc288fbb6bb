"""Segments of the outbox, and pointers to them on the trackers. Nothing is converted.

Rows of `event_outbox` are published from there. Workers of before know nothing of segments: stop them first. To go
back, let the relays empty the outbox first.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0012"
down_revision: Final = "0011"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE outbox_segments (
            shard smallint NOT NULL,
            position bigint GENERATED ALWAYS AS IDENTITY,
            events integer NOT NULL,
            size integer NOT NULL,
            payload bytea NOT NULL,
            created_at timestamp with time zone DEFAULT now() NOT NULL,
            CONSTRAINT pk_outbox_segments PRIMARY KEY (shard, position),
            CONSTRAINT ck_outbox_segments_shard CHECK (shard BETWEEN 0 AND 95)
        )
    """)
    # It is compressed already.
    op.execute("ALTER TABLE outbox_segments ALTER COLUMN payload SET STORAGE EXTERNAL")
    op.execute(
        "COMMENT ON COLUMN outbox_segments.shard IS "
        "'one relay at a time owns a shard; all waiting segments of a batch are in one shard'"
    )
    op.execute("COMMENT ON COLUMN outbox_segments.position IS 'order within a shard'")
    op.execute("COMMENT ON COLUMN outbox_segments.size IS 'bytes of the events before compression'")
    op.execute("COMMENT ON COLUMN outbox_segments.payload IS 'a format byte and the events, see queries/segment_codec'")
    op.execute("""
        ALTER TABLE batch_essay_trackers
            ADD COLUMN outbox_shard smallint,
            ADD COLUMN outbox_position bigint,
            ADD CONSTRAINT ck_batch_essay_trackers_outbox
                CHECK ((outbox_shard IS NULL) = (outbox_position IS NULL))
    """)
    op.execute(
        "COMMENT ON COLUMN batch_essay_trackers.outbox_shard IS "
        "'with outbox_position: the last segment with events of the batch; while it exists, some may be unsent'"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE batch_essay_trackers DROP COLUMN outbox_shard, DROP COLUMN outbox_position")
    op.execute("DROP TABLE outbox_segments")
