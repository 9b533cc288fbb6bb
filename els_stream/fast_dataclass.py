"""Values that are made for every essay: frozen where it is checked, plain where it would be paid for.

At run time a frozen dataclass sets each field by way of `object.__setattr__`, which makes it three times as dear as a
plain one. Types are checked before anything runs, so there they are frozen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def fast_dataclass(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`, for the type checker."""
    make: Callable[[type[T]], type[T]] = dataclass(slots=True, unsafe_hash=True)
    return make(cls)
