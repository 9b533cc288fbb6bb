"""The audit rows of offsets that an operator skipped because nothing can read them."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0010"
down_revision: Final = "0009"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE skipped_offsets (
            id bigint GENERATED ALWAYS AS IDENTITY,
            consumer_group text NOT NULL,
            topic text NOT NULL,
            partition integer NOT NULL,
            first_offset bigint NOT NULL,
            last_offset bigint NOT NULL,
            note text NOT NULL,
            skipped_by text NOT NULL,
            skipped_at timestamp with time zone DEFAULT now() NOT NULL,
            CONSTRAINT pk_skipped_offsets PRIMARY KEY (id),
            CONSTRAINT ck_skipped_offsets_range CHECK (first_offset >= 0 AND last_offset >= first_offset)
        )
    """)
    op.execute("COMMENT ON COLUMN skipped_offsets.topic IS 'as the broker knows it, with the prefix of an environment'")
    op.execute("COMMENT ON COLUMN skipped_offsets.last_offset IS 'inclusive'")


def downgrade() -> None:
    op.execute("DROP TABLE skipped_offsets")
