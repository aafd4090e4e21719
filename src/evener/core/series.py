"""The course of one number over a run, in robust statistics: does it go where it should not?"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

ROUND = 64
"""Samples, at least, over which a value is a mean: what fewer say may be luck. Usually a step has more."""

WINDOW = 16
"""Rounds whose lower quartile must be beyond a limit: three quarters of them are."""

LOST = 0.9
"""Part of what the loss had gained that must be lost again."""

RISEN = 3.0
"""Times where it began that a loss must be that had gained little."""

EXPLODED = 100.0
"""Times its usual value that a gradient norm must be."""

EXTREME_LOSS, EXTREME_NORM = 100.0, 1000.0
"""Times where it began that are far too much in :data:`BLOWS` rounds: a network may blow up and be dead before a window
is over."""

BLOWN, BACK, BLOWS = 4.0, 1.2, 3
"""A loss that was so many times both its median and where it began, in so many rounds, should come back to this times
where it began. One or two rounds are a spike, from which training recovers."""

USUAL = 256
"""Rounds before the window over which a norm's usual value is the median."""


class Series:
    """The course of one number, in rounds: steps, or as many of them as have :data:`ROUND` samples.

    Attributes:
        first: where it began, the mean over the first round; ``None`` until then.
        recent: the last rounds' means. ``best``: the lowest median of so many yet; ``lowest``: of any contribution.

    Example:
        >>> series = Series()
        >>> for value in [2.0, 1.0] + [0.1] * WINDOW: series.add([(value, 64)])
        >>> series.first, series.best, round(series.worst_loss(), 2)
        (2.0, 0.1, 1.81)
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.best = self.lowest = math.inf
        self._spread = 0.0
        self._before: deque[float] = deque(maxlen=USUAL)
        self._sum, self._samples = 0.0, 0

    def add(self, parts: Sequence[tuple[float, int]]) -> None:
        """A step's contributions, as values and samples."""
        self.lowest = min((self.lowest, *(value for value, _ in parts)))
        self._sum += sum(value * samples for value, samples in parts)
        self._samples += sum(samples for _, samples in parts)
        if self._samples < ROUND:
            return
        mean = self._sum / self._samples
        self._sum, self._samples = 0.0, 0
        if self.first is None:
            self.first = mean
        if len(self.recent) == WINDOW:
            self._before.append(self.recent[0])
        self.recent.append(mean)
        if len(self.recent) == WINDOW:
            ordered = sorted(self.recent)
            if ordered[WINDOW // 2] < self.best:
                self.best, self._spread = ordered[WINDOW // 2], ordered[-WINDOW // 4] - ordered[WINDOW // 4]

    @property
    def now(self) -> float:
        """What three quarters of the last rounds reach; not a number as long as they are too few."""
        return sorted(self.recent)[WINDOW // 4] if len(self.recent) == WINDOW else math.nan

    def rose(self, limit: float, extreme: float) -> str:
        """How it is beyond ``limit`` for a while, or was beyond ``extreme`` times where it began; empty: it is not."""
        if self.first is None:
            return ""
        began = f"began at {self.first:.3g}"
        if self.now > limit:
            fell = f", had come down to {self.best:.3g}" if self.best < LOST * self.first else ""
            return f"{began}{fell}, and is {self.now:.3g} now"
        if self.first > 0 and self.lowest >= 0 and self._blew_up(extreme * self.first):
            return f"{began} and rose to {max(self.recent):.3g}"
        return ""

    def _blew_up(self, limit: float) -> bool:
        return sum(value > limit for value in self.recent) >= BLOWS

    def worst_loss(self) -> float:
        """The limit for a loss: nearly all it has gained lost, or far above where it began; infinite if unknown."""
        if self.first is None:
            return math.inf
        gained = self.first - self.best
        if math.isfinite(gained) and gained > max(0.5 * abs(self.first), 4 * self._spread):
            return self.best + LOST * gained
        if self.first <= 0 or self.lowest < 0 or len(self.recent) < WINDOW:
            return math.inf  # what a ratio means is known only where nothing is below 0
        if self._blew_up(BLOWN * max(self.first, sorted(self.recent)[WINDOW // 2])):
            return BACK * self.first
        began = max(self.first, self.best)  # the first round may have been lucky
        return began + max((RISEN - 1) * began, 2 * self._spread)

    def worst_norm(self) -> float:
        """The limit for a norm: far above both where it began and what is usual; infinite if unknown."""
        if not self.first or not self.now > EXPLODED * self.first:
            return math.inf  # the median of many values is not needed for what is not suspicious
        return EXPLODED * max(self.first, statistics.median(self._before) if self._before else 0.0)
