"""An index of the validation failures whose code is not one of those known when it was made."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0013"
down_revision: Final = "0012"
branch_labels: Final = None
depends_on: Final = None

KNOWN: Final = (
    "'EMPTY_CONTENT', 'CONTENT_TOO_SHORT', 'CONTENT_TOO_LONG', 'RAW_STORAGE_FAILED', 'TEXT_EXTRACTION_FAILED',"
    " 'ENCRYPTED_FILE_UNSUPPORTED', 'UNKNOWN_VALIDATION_ERROR'"
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_batch_validation_failures_unknown_code")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_batch_validation_failures_unknown_code"
            f" ON batch_validation_failures (created_at) WHERE error_code NOT IN ({KNOWN})"
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY ix_batch_validation_failures_unknown_code")
