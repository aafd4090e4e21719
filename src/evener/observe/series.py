"""Values over time in a bounded number of points, however long the record is and whenever it ends."""

from __future__ import annotations

from array import array

from ..core import commands as c
from ..core import events as e
from ..trace import EventLine, Line, LogNote, NoteLine
from .tally import Tally

BINS = 480
"""Bins of a whole run: half of them are full at least."""

WIDTH = 1 / 64
"""Seconds of a bin to begin with. Powers of two: doubling and adding them up is exact."""

POINTS = 2000
"""Points of a curve at most."""


class Bins:
    """Sums of ``kinds`` quantities over equal spans of time, which become longer as time goes on.

    When the last bin is full, neighbours are added up in pairs and each bin counts for twice the time.

    Example:
        >>> bins = Bins(kinds=1, bins=4, width=1.0)
        >>> for t in (0.5, 1.5, 2.5): bins.add(t, 0, 10.0)
        >>> bins.spread(3.0, 5.0, 0)  # one for each second
        >>> bins.width, bins.of(0)
        (2.0, [20.0, 11.0, 1.0])
    """

    def __init__(self, kinds: int, bins: int = BINS, width: float = WIDTH) -> None:
        self.kinds = kinds
        self.width = width
        self.used = 0
        self._bins = bins
        self._sums = array("d", bytes(8 * bins * kinds))

    def add(self, t: float, kind: int, amount: float) -> None:
        """Count ``amount`` at time ``t`` ≥ 0 (s)."""
        index = self._bin(t)  # first: it may put another array in the place of the sums
        self._sums[index * self.kinds + kind] += amount

    def spread(self, start: float, stop: float, kind: int, rate: float = 1.0) -> None:
        """Count ``rate`` for each second from ``start`` to ``stop``."""
        if stop <= start:
            return
        last, first = self._bin(stop), self._bin(start)
        width, kinds, sums = self.width, self.kinds, self._sums
        if first == last:
            sums[first * kinds + kind] += rate * (stop - start)
            return
        sums[first * kinds + kind] += rate * ((first + 1) * width - start)
        for index in range(first + 1, last):
            sums[index * kinds + kind] += rate * width
        sums[last * kinds + kind] += rate * (stop - last * width)

    def coarsen(self, width: float) -> None:
        """Make each bin ``width`` seconds long, or longer, so that it can be put beside others."""
        while self.width < width:
            self._double()

    def of(self, kind: int) -> list[float]:
        """The sums of one quantity, up to the last bin that anything came into."""
        return list(self._sums[kind : self.used * self.kinds : self.kinds])

    def _bin(self, t: float) -> int:
        index = int(max(t, 0.0) / self.width)
        while index >= self._bins:
            self._double()
            index = int(t / self.width)
        if index >= self.used:
            self.used = index + 1
        return index

    def _double(self) -> None:
        sums, kinds = self._sums, self.kinds
        merged = array("d", bytes(8 * len(sums)))
        for index in range(self.used):
            to = index // 2 * kinds
            for kind in range(kinds):
                merged[to + kind] += sums[index * kinds + kind]
        self._sums = merged
        self.used = (self.used + 1) // 2
        self.width *= 2


class Curve:
    """Points of a line, in order. When there are too many, each second one goes, and each second of those to come.

    The newest point is always there.

    Example:
        >>> curve = Curve(most=4)
        >>> for x in range(10): curve.add(x, x * x)
        >>> curve.points
        [(0, 0), (4, 16), (8, 64), (9, 81)]
    """

    def __init__(self, most: int = POINTS) -> None:
        self._most = most
        self._kept: list[tuple[float, ...]] = []
        self._last: tuple[float, ...] | None = None
        self._stride = 1
        self._seen = 0

    def add(self, *point: float) -> None:
        """Take the next point: any numbers, the same count each time."""
        self._last = point
        if self._seen % self._stride == 0:
            self._kept.append(point)
            if len(self._kept) > self._most - 1:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    @property
    def points(self) -> list[tuple[float, ...]]:
        """What was kept."""
        last = [self._last] if self._last is not None and self._last != self._kept[-1] else []
        return self._kept + last


class Series:
    """Pace, share, staleness and what was logged, over time.

    Args:
        tally: follows the same record, always one line ahead: :meth:`feed` takes what the line changed in it.

    Attributes:
        flow: samples applied, and those of them that were stale.
        workers: by worker: samples applied, samples computed, seconds it computed.
        logged: by (source, name): when the parameters were made, samples until then, value.
    """

    def __init__(self, tally: Tally) -> None:
        self.flow = Bins(2)
        self.workers: dict[int, Bins] = {}
        self.logged: dict[tuple[str, str], Curve] = {}
        self._tally = tally
        self._seen: dict[int, tuple[int, int, int, float]] = {}

    def feed(self, line: Line) -> None:
        """Take the next line."""
        match line:
            case EventLine(t, e.Computed(worker) | e.Declined(worker)):
                self._worker(t, worker)
            case EventLine(t, e.Arrived(worker), commands) if commands:
                for command in commands:
                    if isinstance(command, c.Accumulate):
                        self._worker(t, command.worker)
            case NoteLine(_, LogNote() as log):
                for name, value in log.values.items():
                    if value is not None:
                        self.logged.setdefault((log.source, name), Curve()).add(log.at, log.samples, value)
            case _:
                pass

    def _worker(self, t: float, worker: int) -> None:
        work = self._tally.workers.get(worker)
        if work is None:
            return
        bins = self.workers.get(worker)
        if bins is None:
            bins = self.workers[worker] = Bins(3)
        samples, stale, computed, seconds = self._seen.get(worker, (0, 0, 0, 0.0))
        self._seen[worker] = work.samples, work.stale, work.computed, work.compute_s
        self.flow.add(t, 0, work.samples - samples)
        self.flow.add(t, 1, work.stale - stale)
        bins.add(t, 0, work.samples - samples)
        bins.add(t, 1, work.computed - computed)
        bins.add(t, 2, work.compute_s - seconds)
