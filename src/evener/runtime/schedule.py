"""When a checkpoint is due. Time is an argument, in seconds since the server began."""

from __future__ import annotations


class Schedule:
    """Says when the next checkpoint is due.

    A run that begins has its first at once. A server that went on from one takes the next as soon as there is a new
    version, and then again whenever as much time has passed as since its start, until that is ``every``: however short
    the lives of such servers are, each leaves the run further than it found it, and what a server computed before it
    was lost is never much less than half kept.

    Args:
        every: seconds from one to the next, at least; 0: none is ever due.
        share: of the time, that checkpoints may cost: the next waits until the last one is paid off. 0: whatever they
            cost.
        resumed: version from which the server went on; ``None``: the run began.

    Example:
        >>> schedule = Schedule(every=60.0, share=0.01)
        >>> schedule.due(0.0, version=0)
        True
        >>> schedule.taken(0.0)
        >>> schedule.due(60.0, version=9, cost=0.5), schedule.due(60.0, version=9, cost=0.7)
        (True, False)
        >>> schedule = Schedule(every=60.0, resumed=9)
        >>> schedule.due(2.0, version=9), schedule.due(2.0, version=10)
        (False, True)
        >>> schedule.taken(2.0)
        >>> schedule.due(3.9, version=20), schedule.due(4.0, version=20)
        (False, True)
    """

    def __init__(self, every: float, share: float = 0.0, resumed: int | None = None) -> None:
        self._every = every
        self._share = share
        self._resumed = resumed
        self._last: float | None = None

    def due(self, now: float, version: int, cost: float = 0.0) -> bool:
        """Whether one is: the run is at ``version``, and the last one cost so many seconds."""
        if self._every <= 0:
            return False
        if self._last is None:
            return version != self._resumed
        every = self._every if self._resumed is None else min(self._every, self._last)
        return now - self._last >= max(every, cost / self._share if self._share else 0.0)

    def taken(self, now: float) -> None:
        """One was taken."""
        self._last = now

    def overdue(self, now: float) -> bool:
        """Whether one should have been taken, even where they are far apart, while the last is still being written."""
        return self._every > 0 and self._last is not None and now - self._last >= self._every
