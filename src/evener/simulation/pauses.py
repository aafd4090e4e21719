"""Times in which nothing happens: a host that hangs, a link that is cut."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pareto:
    """Stalls that come by chance, most of them short and a few very long: a heavy tail.

    Attributes:
        every: seconds from the end of one to the beginning of the next, in the mean (exponentially distributed).
        least: the shortest, in seconds.
        shape: of the Pareto distribution of their lengths: the smaller, the heavier the tail. Their mean is
            ``least · shape / (shape − 1)``, and infinite for a shape of 1 or less.

    Raises:
        ValueError: a value out of its range.
    """

    every: float
    least: float = 1.0
    shape: float = 1.5

    def __post_init__(self) -> None:
        for name in ("every", "least", "shape"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"stalls by chance: {name} is positive and finite, unlike {getattr(self, name)}")

    def draw(self, chance: random.Random) -> Iterator[tuple[float, float]]:
        """``(from, seconds)``, one after the other, without end."""
        now = 0.0
        while True:
            now += chance.expovariate(1.0 / self.every)
            length = self.least * chance.paretovariate(self.shape)
            yield now, length
            now += length


class Pauses:
    """Known ones, and such that come by chance.

    Args:
        known: ``(from, seconds)``.
        drawn: further ones, in order of time, without end.

    Example:
        >>> pauses = Pauses(((3.0, 10.0),))
        >>> pauses.after(5.0), pauses.end(begun=2.0, end=4.0)
        (13.0, 14.0)
    """

    def __init__(
        self, known: tuple[tuple[float, float], ...], drawn: Iterator[tuple[float, float]] | None = None
    ) -> None:
        self.known = tuple(_apart(known))
        self._drawn = drawn
        self._coming: deque[tuple[float, float]] = deque()

    def __bool__(self) -> bool:
        return bool(self.known) or self._drawn is not None

    def add(self, start: float, seconds: float) -> None:
        """One more, which begins at ``start`` and not before now."""
        self.known = tuple(_apart((*self.known, (start, seconds))))

    def after(self, time: float) -> float:
        """``time``, or the end of the pause it falls in."""
        for start, seconds in self.known:
            if start <= time < start + seconds:
                return start + seconds
        self._draw(time)
        for start, seconds in self._coming:
            if start <= time < start + seconds:
                return start + seconds
        return time

    def end(self, begun: float, end: float) -> float:
        """When it ends what has ``begun``, which is now, and would end at ``end`` without pauses."""
        for start, seconds in self.known:
            if begun < start <= end:
                end += seconds
        if self._drawn is None:
            return end
        while self._coming and sum(self._coming[0]) <= begun:
            self._coming.popleft()  # nobody asks for the past
        at = 0
        while True:
            self._draw(end)
            if at == len(self._coming) or self._coming[at][0] > end:
                return end
            start, seconds = self._coming[at]
            end += seconds if start > begun else 0.0
            at += 1

    def _draw(self, time: float) -> None:
        """All that begin until ``time``, and one more."""
        while self._drawn is not None and (not self._coming or self._coming[-1][0] <= time):
            self._coming.append(next(self._drawn))


def _apart(pauses: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """In order of time, those that overlap as one.

    >>> _apart(((5.0, 3.0), (1.0, 2.0), (2.0, 0.5), (7.0, 2.0)))
    [(1.0, 2.0), (5.0, 4.0)]
    """
    apart: list[tuple[float, float]] = []
    for start, seconds in sorted(pauses):
        if apart and start <= sum(apart[-1]):
            begun, length = apart[-1]
            apart[-1] = begun, max(length, start + seconds - begun)
        else:
            apart.append((start, seconds))
    return apart
