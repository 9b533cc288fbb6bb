"""Secrets in files, as Kubernetes and Docker mount them: `ELS_DATABASE_URL_FILE` names the file of `ELS_DATABASE_URL`.

A field of a secret has a field `<name>_file` beside it. The file is read at the start, and again for each connection:
`Settings.current_secret` returns what it holds then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

FILE_SUFFIX: Final = "_file"
MAX_BYTES: Final = 64 * 1024


def read_secret(path: Path) -> str:
    """Return the content of a file without line ends at its end; raises ValueError with the reason."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or type(error).__name__}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"is longer than {MAX_BYTES} bytes")
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not secret:
        raise ValueError("is empty")
    return secret


def with_secrets(values: Mapping[str, object], variables: Mapping[str, str]) -> dict[str, object]:
    """Return values of fields, with the content of the files that they name as the values of the secrets' fields.

    `variables` has the environment variable of each secret's field. Raises ValueError if a secret and its file are both
    given, or for a file that can't be read.
    """
    found = dict(values)
    for name, variable in variables.items():
        path = values.get(name + FILE_SUFFIX)
        if path is None:
            continue
        shown = f"{variable}{FILE_SUFFIX.upper()}"
        if values.get(name) is not None:
            raise ValueError(f"{variable} and {shown} are both set: set one of them")
        try:
            found[name] = read_secret(Path(str(path)))
        except ValueError as error:
            raise ValueError(f"{shown}={path}: the file {error}") from None
    return found


def secret_names(fields: Iterable[str]) -> list[str]:
    """Return the names of the fields that can be given as a file."""
    names = set(fields)
    return [name for name in fields if name + FILE_SUFFIX in names]
