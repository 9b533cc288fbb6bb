"""A dataclass decorator for values that are created for every essay: frozen for the type checker, not at run time.

A frozen dataclass sets each field with `object.__setattr__`, so its `__init__` takes three times as long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def fast_dataclass(cls: type[T]) -> type[T]:
    """Make a dataclass with slots and a hash, which the type checker treats as frozen."""
    make: Callable[[type[T]], type[T]] = dataclass(slots=True, unsafe_hash=True)
    return make(cls)
