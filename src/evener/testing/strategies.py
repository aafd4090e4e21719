"""Random clusters and schedules for property tests. Needs ``hypothesis``: import it by name, from tests only.

>>> from evener.testing import strategies
>>> schedule = strategies.schedules().example()                                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

from .schedules import Schedule, schedule, watch_for

__all__ = ["Schedule", "schedules", "watch_for"]

T = TypeVar("T")


class _Drawn:
    """Chooses as ``hypothesis`` draws, so that it can make what fails smaller."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def whole(self, least: int, most: int) -> int:
        return self._draw(st.integers(least, most))

    def one(self, options: tuple[T, ...]) -> T:
        return self._draw(st.sampled_from(options))

    def several(self, most: int, make: Callable[[], T], least: int = 0) -> list[T]:
        return [make() for _ in range(self._draw(st.integers(least, most)))]


@st.composite
def schedules(draw: st.DrawFn, faults: bool = True) -> Schedule:
    """A run of 1 to 6 hosts over 1 to 3 short epochs in which somebody is left to do the work."""
    return schedule(_Drawn(draw), faults)
