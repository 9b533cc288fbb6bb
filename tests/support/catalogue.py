"""The catalogue entries of the service's tables, as comparable rows."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

QUERIES: Final = {
    "relations": """
        SELECT relname, relkind, reloptions, relpersistence, relreplident, obj_description(oid, 'pg_class')
        FROM pg_class
        WHERE relnamespace = CAST('public' AS regnamespace) AND relname !~ '^(alembic|els_schema)_version'
    """,
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
               pg_get_expr(adbin, adrelid), col_description(attrelid, attnum), attcollation
        FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r'
          AND relnamespace = CAST('public' AS regnamespace) AND relname !~ '^(alembic|els_schema)_version'
    """,
    "indexes": """
        SELECT pg_get_indexdef(indexrelid), indisunique, indisprimary, indisvalid
        FROM pg_index
        JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = CAST('public' AS regnamespace) AND relname !~ '^(alembic|els_schema)_version'
    """,
    "constraints": """
        SELECT relname, conname, contype, pg_get_constraintdef(pg_constraint.oid), convalidated
        FROM pg_constraint
        JOIN pg_class ON pg_class.oid = conrelid
        WHERE relnamespace = CAST('public' AS regnamespace) AND relname !~ '^(alembic|els_schema)_version'
    """,
    "others": """
        SELECT 'type', typname FROM pg_type
        WHERE typnamespace = CAST('public' AS regnamespace) AND typtype <> 'c' AND typcategory <> 'A'
        UNION ALL SELECT 'function', regexp_replace(pg_get_functiondef(oid), '[[:space:]]+', ' ', 'g') FROM pg_proc
        WHERE pronamespace = CAST('public' AS regnamespace)
        UNION ALL SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    """,
}


async def catalogue(conn: AsyncConnection) -> dict[str, list[str]]:
    """Return the entries by kind as sorted text, so that a failing test shows a readable difference."""
    return {name: sorted(map(repr, await conn.execute(text(query)))) for name, query in QUERIES.items()}
