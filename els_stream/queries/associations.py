"""Associations of students with essays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.domain.associations import CurrentAssociation
from els_stream.events.fields import ValidationMethod
from els_stream.queries.arrays import arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.inbound import StudentAssociation

_READ_CURRENT = text("""
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

_BATCHES_WITH_STUDENT = text(
    "SELECT batch_id, count(*) AS essays FROM essay_states WHERE student_id = :student_id GROUP BY batch_id"
)
# Every change of a batch takes this lock, in this order.
_LOCK_BATCHES = text("""
    SELECT batch_id FROM batch_essay_trackers WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
    ORDER BY batch_id FOR UPDATE
""")
_CLEAR_STUDENT = text("""
    UPDATE essay_states
    SET student_id = NULL, association_method = NULL, association_confidence = NULL, associated_by = NULL,
        associated_at = NULL, version = version + 1, updated_at = clock_timestamp()
    WHERE batch_id = ANY(CAST(:batch_ids AS text[])) AND student_id = :student_id
""")


async def read_current(
    conn: AsyncConnection, essays: Collection[tuple[str, str]]
) -> dict[tuple[str, str], CurrentAssociation]:
    """Return the current association by (batch id, essay id); essays that do not exist are left out."""
    rows = await conn.execute(
        _READ_CURRENT, arrays(essays, batch_ids=lambda essay: essay[0], essay_ids=lambda essay: essay[1])
    )
    return {
        (row.batch_id, row.essay_id): CurrentAssociation(
            row.association_method and ValidationMethod(row.association_method), row.associated_at
        )
        for row in rows
    }


async def associate(
    conn: AsyncConnection, associations: Sequence[tuple[str, StudentAssociation]], now: datetime
) -> None:
    """Store associations with their batch ids, at most one per essay; replaces what the essays had."""
    params = {
        "batch_ids": [batch_id for batch_id, _ in associations],
        **arrays(
            [association for _, association in associations],
            essay_ids=lambda a: a.essay_id,
            student_ids=lambda a: a.student_id,
            methods=lambda a: a.validation_method.value,
            confidences=lambda a: a.confidence_score,
            validated_by=lambda a: a.validated_by,
            validated_at=lambda a: a.validated_at,
        ),
    }
    await conn.execute(_ASSOCIATE, {"now": now, **params})


async def batches_with_student(conn: AsyncConnection, student_id: str) -> dict[str, int]:
    """Return the number of essays associated with a student, by batch. Reads the whole table: for rare requests."""
    rows = await conn.execute(_BATCHES_WITH_STUDENT, {"student_id": student_id})
    return {row.batch_id: row.essays for row in rows}


async def clear_student(conn: AsyncConnection, student_id: str, batch_ids: Collection[str]) -> int:
    """Lock these batches and clear the student's associations in them; return the number of essays."""
    params = {"batch_ids": sorted(batch_ids)}
    await conn.execute(_LOCK_BATCHES, params)
    return (await conn.execute(_CLEAR_STUDENT, {**params, "student_id": student_id})).rowcount
