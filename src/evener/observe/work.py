"""What one worker has done so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..core.members import Mean

RECENT = 3.0
"""Seconds over which "now" is averaged."""


class Window:
    """A sum over the last seconds.

    >>> window = Window(3.0)
    >>> for t in (1.0, 2.0, 5.5): window.add(t, 10.0)
    >>> window.total(6.0)
    10.0
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._sum = 0.0
        self._items: deque[tuple[float, float]] = deque()

    def add(self, t: float, amount: float) -> None:
        """Count ``amount`` at time ``t``."""
        self._items.append((t, amount))
        self._sum += amount

    def total(self, now: float) -> float:
        """What was counted in the last seconds before ``now``."""
        while self._items and self._items[0][0] < now - self.seconds:
            self._sum -= self._items.popleft()[1]
        return self._sum if self._items else 0.0


@dataclass(slots=True)
class Work:
    """One worker. Counts are in samples, times in seconds of the record; ``ahead``: steps it might start early."""

    worker: int
    name: str = ""
    joined: float | None = None
    present: float = 0.0
    left: str | None = None
    sits_out: str = ""
    sat_out: str | None = None
    late: bool = False
    samples: int = 0
    stale: int = 0
    ahead: int = 0
    refused: int = 0
    declined: int = 0
    discarded: int = 0
    computed: int = 0
    compute_s: float = 0.0
    pace: Mean = field(default_factory=lambda: Mean(0.0, gain=0.1))
    staleness: Mean = field(default_factory=lambda: Mean(0.0, gain=0.1))
    busy: Window = field(default_factory=lambda: Window(RECENT))
    started: dict[int, float] = field(default_factory=dict)
    tickets: set[int] = field(default_factory=set)

    def here(self, start: float, stop: float) -> float:
        """Seconds it was present between ``start`` and ``stop``."""
        since = 0.0 if self.joined is None else max(0.0, stop - max(self.joined, start))
        return self.present + since
