"""The comparison of schemas reports what breaks a reader or a writer, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.schema_compatibility import Comparison, Schema

TEXT = {"type": "string"}
BOOK = {"type": "object", "properties": {"title": TEXT}, "required": ["title"]}
DOCUMENT = {"components": {"schemas": {"Book": BOOK}}}
REFERENCE = {"$ref": "#/components/schemas/Book"}


def misfits(narrow: Schema, wide: Schema) -> list[str]:
    return list(Comparison(DOCUMENT, DOCUMENT).misfits(narrow, wide))


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (TEXT, {}),
        ({"const": "a", "type": "string"}, {"enum": ["a", "b"], "type": "string"}),
        ({"type": "integer"}, {"type": "number"}),
        ({"type": "string", "maxLength": 3}, {"type": "string", "maxLength": 4}),
        ({"enum": ["ab", "abc"], "type": "string"}, {"type": "string", "minLength": 2, "maxLength": 3}),
        (TEXT, {"anyOf": [{"type": "null"}, TEXT]}),
        (BOOK, {**BOOK, "properties": {"title": TEXT, "author": TEXT}}),
        (REFERENCE, BOOK),
        ({**BOOK, "required": ["title", "author"]}, REFERENCE),
        ({"type": "array", "items": REFERENCE}, {"type": "array", "items": {}}),
    ],
)
def test_a_schema_fits_a_wider_one(narrow: Schema, wide: Schema) -> None:
    assert misfits(narrow, wide) == []


@pytest.mark.parametrize(
    ("narrow", "wide", "found"),
    [
        ({}, TEXT, [": type None, not string"]),
        ({"enum": ["a", "c"]}, {"enum": ["a", "b"]}, [': value "c"']),
        (TEXT, {"const": "a"}, [": any value"]),
        (TEXT, {"type": "string", "maxLength": 4}, [": maxLength above 4"]),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}, [": minimum below 1"]),
        ({"enum": ["ab", "a"], "type": "string"}, {"type": "string", "minLength": 2}, [": minLength below 2"]),
        (TEXT, {"type": "string", "pattern": "a"}, [": another pattern"]),
        ({"anyOf": [TEXT, {"type": "null"}]}, TEXT, [": type null, not string"]),
        (TEXT, {"anyOf": [{"type": "null"}, {"type": "integer"}]}, [": type string, not null"]),
        ({"type": "object"}, REFERENCE, [".title: may be absent"]),
        ({"type": "array"}, {"type": "array", "items": TEXT}, ["[items]: type None, not string"]),
        (
            {"type": "object", "properties": {"title": {"type": "integer"}}, "required": ["title"]},
            REFERENCE,
            [".title: type integer, not string"],
        ),
    ],
)
def test_a_schema_that_is_wider_is_reported_with_its_place(narrow: Schema, wide: Schema, found: list[str]) -> None:
    assert misfits(narrow, wide) == found


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(ValueError, match="oneOf"):
        misfits({"oneOf": [TEXT]}, TEXT)
