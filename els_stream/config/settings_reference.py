"""Names, units, bounds and error messages of settings, derived from the fields of their class.

Messages and tables use the data that pydantic validates with, so they always agree with it.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from els_stream.config.kubernetes_variables import is_service_variable
from els_stream.config.renamed_settings import RENAMED
from els_stream.config.urls import mask_unknown
from els_stream.postgres.address import AddressError

_MAX_SHOWN_CHARACTERS = 80
_FAUST_PREFIX = "ELS_FAUST_"


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a number."""

    name: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """The allowed values of a field in words, if its type and bounds do not define them."""

    text: str


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the documentation's table of settings."""

    variable: str
    meaning: str
    default: str
    unit: str
    allowed: str


def rows(model: type[BaseSettings]) -> Iterator[SettingRow]:
    """Yield a line for each field, in their order."""
    for name, field in model.model_fields.items():
        yield SettingRow(
            variable=variable(model, name),
            meaning=field.description or "",
            default="" if field.default is None else _plain(field.default),
            unit=_unit(field),
            allowed=allowed(field),
        )


def variable(model: type[BaseSettings], name: str) -> str:
    """Return the environment variable of a field."""
    alias = model.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{model.model_config['env_prefix']}{name}".upper()


def is_secret(field: FieldInfo) -> bool:
    """Return whether the value must never be shown."""
    return SecretStr in set(_inner_types(field.annotation))


def allowed(field: FieldInfo) -> str:
    """Return the allowed values of a field in words."""
    for entry in field.metadata:
        if isinstance(entry, Allowed):
            return entry.text
    kinds = [kind for kind in _inner_types(field.annotation) if kind is not type(None)]
    if kinds in ([bool], [Path]):
        return "true or false" if kinds == [bool] else "the path of a file"
    if len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        return " or ".join(get_args(kinds[0]))
    if kinds in ([int], [float]):
        return _range(field, "whole number" if kinds == [int] else "number")
    return "text"


def explain(model: type[BaseSettings], error: ValidationError, environ: Mapping[str, str]) -> str:
    """Return one line with the first wrong variable, its value and what is allowed, and the number of other errors."""
    first, *others = error.errors(include_url=False)
    further = f" (and {len(others)} more)" if others else ""
    if not first["loc"]:
        return str(first["ctx"]["error"]) + further if "ctx" in first else first["msg"] + further
    name = _field_at(model, str(first["loc"][0]))
    if name is None:
        return f"{first['loc'][0]}: there is no such setting{further}"
    field, own = model.model_fields[name], variable(model, name)
    file = f"{own}_FILE"
    source = f" (from {file})" if file in environ and own not in environ else ""
    problem = first.get("ctx", {}).get("error")
    rule = problem if isinstance(problem, AddressError) else f"must be {allowed(field)}"
    return f"{own}{source}={_shown(field, first['input'])}: {rule}{further}"


def unknown_variables(model: type[BaseSettings], environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each variable with the prefix of the settings that is not one, most often misspelt.

    Those that Kubernetes sets have a line of their own.
    """
    prefix = model.model_config["env_prefix"]
    known = [variable(model, name) for name in model.model_fields]
    accepted = {*known, *RENAMED, *(f"{prefix}{name}".upper() for name in model.model_fields)}
    unknown = sorted(
        name
        for name, value in environ.items()
        if name.upper().startswith(prefix)
        and not name.upper().startswith(_FAUST_PREFIX)
        and name.upper() not in accepted
        and not is_service_variable(name, value)
    )
    return [f"{name} is not a setting and is ignored{_hint(name, known)}" for name in unknown]


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _field_at(model: type[BaseSettings], location: str) -> str | None:
    for name, field in model.model_fields.items():
        if location in {name, field.validation_alias}:
            return name
    return None


def _inner_types(annotation: object) -> Iterator[object]:
    if get_origin(annotation) in {Union, types.UnionType}:
        for member in get_args(annotation):
            yield from _inner_types(member)
    elif get_origin(annotation) is Annotated:
        yield from _inner_types(get_args(annotation)[0])
    else:
        yield annotation


def _unit(field: FieldInfo) -> str:
    return next((entry.name for entry in field.metadata if isinstance(entry, Unit)), "")


def _range(field: FieldInfo, kind: str) -> str:
    low = next(entry.ge for entry in field.metadata if isinstance(entry, Ge))
    high = next(entry.le for entry in field.metadata if isinstance(entry, Le))
    unit = _unit(field)
    return f"a {kind} from {low} to {high}" + (f" ({unit})" if unit not in {"", "count", "port"} else "")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(field: FieldInfo, value: object) -> str:
    if is_secret(field):
        return mask_unknown(str(value))
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "…"
