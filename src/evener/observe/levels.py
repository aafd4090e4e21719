"""A timeline at two levels of detail: the whole run in bins, and single intervals, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterable

from .intervals import STATES, Interval
from .series import Bins

ROOM = 400_000
"""Single intervals kept."""

WINDOW = 1024
"""Intervals that are kept, or left out, together: a stretch of the run that can be looked at as it was."""

_STATE = {state: number for number, state in enumerate(STATES)}


class Levels:
    """Takes intervals in the order in which they end; keeps memory bounded.

    As long as there is room, every interval is kept. Then windows of :data:`WINDOW` intervals are, at equal distances
    over the whole run: each time the room is full, every second window goes.

    Args:
        room: intervals kept at most.
        window: intervals of a window.

    Attributes:
        seen: intervals so far.
    """

    def __init__(self, room: int = ROOM, window: int = WINDOW) -> None:
        self.seen = 0
        self._bins: dict[int, Bins] = {}
        self._room = max(room, 4 * window)
        self._window = window
        self._windows: list[list[Interval]] = []
        self._stride = 1

    def add(self, intervals: Iterable[Interval]) -> None:
        """Take the next intervals."""
        for interval in intervals:
            bins = self._bins.get(interval.worker)
            if bins is None:
                bins = self._bins[interval.worker] = Bins(len(STATES))
            bins.spread(interval.start, interval.stop, _STATE[interval.state])
            number, place = divmod(self.seen, self._window)
            self.seen += 1
            if number % self._stride:
                continue
            if place == 0:
                if (len(self._windows) + 1) * self._window > self._room:
                    self._windows = self._windows[::2]
                    self._stride *= 2
                    if number % self._stride:
                        continue
                self._windows.append([])
            self._windows[-1].append(interval)

    @property
    def workers(self) -> list[int]:
        """Those that there are, in order."""
        return sorted(self._bins)

    @property
    def complete(self) -> bool:
        """Every interval is there singly."""
        return self._stride == 1

    def kept(self) -> list[Interval]:
        """The single intervals, by worker and time."""
        return sorted((one for window in self._windows for one in window), key=lambda one: (one.worker, one.start))

    def fractions(self) -> tuple[float, dict[int, list[list[float]]]]:
        """Seconds of a bin; and by worker and state, the fraction of each bin that it was in that state."""
        width = max((bins.width for bins in self._bins.values()), default=1.0)
        for bins in self._bins.values():
            bins.coarsen(width)
        return width, {
            worker: [[seconds / width for seconds in self._bins[worker].of(kind)] for kind in range(len(STATES))]
            for worker in self.workers
        }
