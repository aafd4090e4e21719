"""Values: dataclasses that nobody changes once they are made.

Events and commands are made by the dozen for each contribution. A frozen dataclass costs four times as much to make as
one that is not, so here it is the type checker that sees to it that none is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A dataclass with slots that is compared and hashed by its fields; to mypy, a frozen one.

    >>> @value
    ... class Point:
    ...     x: float
    >>> Point(1.0) == Point(1.0), len({Point(1.0), Point(1.0)})
    (True, 1)
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
