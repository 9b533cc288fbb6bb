"""Arrays for `unnest` that travel as one text each, for statements that run for every content.

asyncpg asks of each element of an array whether it is iterable itself, by `isinstance` with abstract base classes. That
takes longer than all else that Python does to the value: 0.3 µs for a text, twice as much for a number or a UUID.
PostgreSQL splits a text as fast as it reads an array, and while planning, so it knows the length as before.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import TextClause

_ARRAY: Final = re.compile(r"CAST\(:(\w+) AS (\w+)\[\]\)")
_SEPARATOR: Final = "\x1f"
_NULL: Final = "\x1e"


def with_packed_arrays(sql: str) -> str:
    """Return the SQL with each `CAST(:name AS type[])` replaced by what unpacks the texts of `packed`.

    A separator comes before each element, or an array with one empty text would be an empty array.
    """
    return _ARRAY.sub(r"CAST((string_to_array(:\1, :separator, :null))[2:] AS \2[])", sql)


def text_with_packed_arrays(sql: str) -> TextClause:
    """Return the statement of `with_packed_arrays`."""
    return text(with_packed_arrays(sql))


def packed(arrays: Mapping[str, Sequence[str | None]]) -> dict[str, str]:
    """Return the parameters of a `text_with_packed_arrays`: each array as a text, and what separates the elements."""
    separator, null = _SEPARATOR, _NULL
    while True:
        texts = [text for values in arrays.values() if (text := _pack(values, separator, null)) is not None]
        if len(texts) == len(arrays):
            return {**dict(zip(arrays, texts, strict=True)), "separator": separator, "null": null}
        separator, null = secrets.token_hex(), secrets.token_hex()  # some value contains one of the usual ones


def _pack(values: Sequence[str | None], separator: str, null: str) -> str | None:
    """Return the values as one text, or None if one of them contains the separator or what stands for null."""
    nulls = 0
    try:
        text = separator.join(["", *cast("Sequence[str]", values)])
    except TypeError:  # a search for None would take longer than the join
        nulls = values.count(None)
        text = separator.join(["", *(null if value is None else value for value in values)])
    unambiguous = text.count(separator) == len(values) and text.count(null) == nulls
    return text if unambiguous else None
