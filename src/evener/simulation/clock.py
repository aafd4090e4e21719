"""The virtual clock: what is to happen, in a total order of (time, sequence)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any


class Clock:
    """Virtual time, in seconds, and what is to happen.

    Two things at one time happen in the order in which they were asked for, so a run is a function of its arguments.

    Example:
        >>> clock = Clock()
        >>> clock.at(2.0, print, "second")
        >>> clock.at(1.0, print, "first")
        >>> clock.advance(), clock.now
        first
        (True, 1.0)
        >>> clock.advance(until=1.5)
        False
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    @property
    def next(self) -> float | None:
        """The time of what happens next; ``None``: nothing does."""
        return self._heap[0][0] if self._heap else None

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Let ``action`` happen at ``time``."""
        self._sequence += 1
        heapq.heappush(self._heap, (time, self._sequence, action, arguments))

    def advance(self, until: float = math.inf) -> bool:
        """Go on to what happens next, and let it; ``False``: nothing does ``until`` then."""
        if not self._heap or self._heap[0][0] > until:
            return False
        self.now, _, action, arguments = heapq.heappop(self._heap)
        action(*arguments)
        return True
