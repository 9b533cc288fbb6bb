"""Compare two versions of a JSON Schema: whether every value that fits the one also fits the other.

It knows the keywords that pydantic writes, and refuses any other, so that a new one is not ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

ANNOTATIONS: Final = {"title", "description", "default", "format", "examples"}
LOWER_BOUNDS: Final = {"minimum", "minLength", "minItems", "minProperties"}
UPPER_BOUNDS: Final = {"maximum", "maxLength", "maxItems", "maxProperties"}
EQUAL: Final = {"pattern", "uniqueItems"}
KNOWN: Final = {
    *ANNOTATIONS,
    *LOWER_BOUNDS,
    *UPPER_BOUNDS,
    *EQUAL,
    *("type", "enum", "const", "anyOf", "$ref", "properties", "required", "additionalProperties", "items"),
    "patternProperties",
    "propertyNames",
}


class Comparison:
    """`narrow` and `wide` are documents whose references point to their `components`."""

    def __init__(self, narrow: Schema, wide: Schema) -> None:
        self._narrow, self._wide = narrow, wide

    def misfits(self, narrow: Schema, wide: Schema, place: str = "") -> Iterator[str]:
        """Yield where a value that fits `narrow` may not fit `wide`. A field that only one of them names is no misfit.

        Raises ValueError for a keyword that the comparison does not know.
        """
        narrow, wide = _resolved(narrow, self._narrow), _resolved(wide, self._wide)
        if "anyOf" in narrow:
            for branch in narrow["anyOf"]:
                yield from self.misfits(branch, wide, place)
        elif "anyOf" in wide:
            attempts = [list(self.misfits(narrow, branch, place)) for branch in wide["anyOf"]]
            if all(attempts):
                yield from min(attempts, key=len)
        else:
            yield from _rules(narrow, wide, place)
            yield from self._inner(narrow, wide, place)

    def _inner(self, narrow: Schema, wide: Schema, place: str) -> Iterator[str]:
        fields: Schema = narrow.get("properties", {})
        for name, field in wide.get("properties", {}).items():
            if name in fields:
                yield from self.misfits(fields[name], field, f"{place}.{name}")
        patterns: Schema = narrow.get("patternProperties", {})
        for pattern, field in wide.get("patternProperties", {}).items():
            yield from self.misfits(patterns.get(pattern, {}), field, f"{place}.{pattern}")
        for keyword in ("items", "additionalProperties", "propertyNames"):
            inner = wide.get(keyword, True)
            if inner is not True:
                given = narrow.get(keyword, True)
                yield from self.misfits({} if given is True else given, inner, f"{place}[{keyword}]")


def _resolved(schema: Schema, document: Schema) -> Schema:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if unknown := schema.keys() - KNOWN:
        raise ValueError(f"keywords that are not compared: {sorted(unknown)}")
    return schema


def _rules(narrow: Schema, wide: Schema, place: str) -> Iterator[str]:
    if wide.get("type", narrow.get("type")) not in _types(narrow):
        yield f"{place}: type {narrow.get('type')}, not {wide['type']}"
    narrow = {**_bounds_of_values(narrow), **narrow}
    given, allowed = _values(narrow), _values(wide)
    if allowed is not None:
        yield from (
            [f"{place}: any value"] if given is None else [f"{place}: value {v}" for v in sorted(given - allowed)]
        )
    yield from _bounds(narrow, wide, place)
    for name in sorted(set(wide.get("required", ())) - set(narrow.get("required", ()))):
        yield f"{place}.{name}: may be absent"


def _bounds(narrow: Schema, wide: Schema, place: str) -> Iterator[str]:
    for keyword in wide.keys() & LOWER_BOUNDS:
        if narrow.get(keyword, float("-inf")) < wide[keyword]:
            yield f"{place}: {keyword} below {wide[keyword]}"
    for keyword in wide.keys() & UPPER_BOUNDS:
        if narrow.get(keyword, float("inf")) > wide[keyword]:
            yield f"{place}: {keyword} above {wide[keyword]}"
    for keyword in wide.keys() & EQUAL:
        if narrow.get(keyword) != wide[keyword]:
            yield f"{place}: another {keyword}"


def _bounds_of_values(schema: Schema) -> Schema:
    """Return the bounds that the texts of an enum keep without saying so."""
    lengths = [len(text) for text in schema.get("enum", ()) if isinstance(text, str)]
    return {"minLength": min(lengths), "maxLength": max(lengths)} if lengths else {}


def _types(schema: Schema) -> set[str | None]:
    """Return the types of which each value of the schema's type is one."""
    return {"integer", "number"} if schema.get("type") == "integer" else {schema.get("type")}


def _values(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(value) for value in schema["enum"]} if "enum" in schema else None
