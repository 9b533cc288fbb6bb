"""Student associations on the essays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.domain.associations import CurrentAssociation
from els_stream.events.fields import ValidationMethod

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.inbound import StudentAssociation

_STANDINGS = text("""
    SELECT e.batch_id, e.essay_id, e.association_method, e.associated_at
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[])) AS i (batch_id, essay_id)
    CROSS JOIN LATERAL (
        SELECT * FROM essay_states s WHERE s.batch_id = i.batch_id AND s.essay_id = i.essay_id
    ) e
""")

_ASSOCIATE = text("""
    UPDATE essay_states e
    SET student_id = v.student_id, association_method = v.method, association_confidence = v.confidence,
        associated_by = v.validated_by, associated_at = v.validated_at, version = e.version + 1, updated_at = :now
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[]), CAST(:student_ids AS text[]),
                CAST(:methods AS text[]), CAST(:confidences AS float8[]), CAST(:validated_by AS text[]),
                CAST(:validated_at AS timestamptz[]))
         AS v (batch_id, essay_id, student_id, method, confidence, validated_by, validated_at)
    WHERE e.batch_id = v.batch_id AND e.essay_id = v.essay_id
""")

_BATCHES_OF = text(
    "SELECT batch_id, count(*) AS essays FROM essay_states WHERE student_id = :student_id GROUP BY batch_id"
)
# Whatever happens to a batch happens under this lock, in this order.
_LOCK_THEIRS = text("""
    SELECT batch_id FROM batch_essay_trackers WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
    ORDER BY batch_id FOR UPDATE
""")
_FORGET = text("""
    UPDATE essay_states
    SET student_id = NULL, association_method = NULL, association_confidence = NULL, associated_by = NULL,
        associated_at = NULL, version = version + 1, updated_at = clock_timestamp()
    WHERE batch_id = ANY(CAST(:batch_ids AS text[])) AND student_id = :student_id
""")


async def standings(
    conn: AsyncConnection, essays: Collection[tuple[str, str]]
) -> dict[tuple[str, str], CurrentAssociation]:
    """How each of these (batch id, essay id) is associated at present; an essay that does not exist is left out."""
    rows = await conn.execute(_STANDINGS, {"batch_ids": [b for b, _ in essays], "essay_ids": [e for _, e in essays]})
    return {
        (row.batch_id, row.essay_id): CurrentAssociation(
            row.association_method and ValidationMethod(row.association_method), row.associated_at
        )
        for row in rows
    }


async def associate(
    conn: AsyncConnection, associations: Sequence[tuple[str, StudentAssociation]], now: datetime
) -> None:
    """Store these on their essays, whatever stood there; at most one an essay."""
    chosen = [association for _, association in associations]
    await conn.execute(
        _ASSOCIATE,
        {
            "now": now,
            "batch_ids": [batch_id for batch_id, _ in associations],
            "essay_ids": [a.essay_id for a in chosen],
            "student_ids": [a.student_id for a in chosen],
            "methods": [a.validation_method.value for a in chosen],
            "confidences": [a.confidence_score for a in chosen],
            "validated_by": [a.validated_by for a in chosen],
            "validated_at": [a.validated_at for a in chosen],
        },
    )


async def batches_of(conn: AsyncConnection, student_id: str) -> dict[str, int]:
    """In which batches essays are associated with a student, and how many. Reads the whole table: for rare requests."""
    return {row.batch_id: row.essays for row in await conn.execute(_BATCHES_OF, {"student_id": student_id})}


async def forget(conn: AsyncConnection, student_id: str, batch_ids: Collection[str]) -> int:
    """Lock these batches, then clear the associations with a student in them; how many essays had one."""
    asked = {"batch_ids": sorted(batch_ids)}
    await conn.execute(_LOCK_THEIRS, asked)
    return (await conn.execute(_FORGET, {**asked, "student_id": student_id})).rowcount
