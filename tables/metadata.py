"""The MetaData of all tables; its naming convention gives every constraint and index a stable name."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Base(DeclarativeBase):
    """Provides `Base.metadata`. The tables are Core tables; no class is mapped."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


metadata = Base.metadata
