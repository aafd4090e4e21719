"""When workers that ended with an error are started again: after pauses that grow."""

from __future__ import annotations

FIRST = 1.0
"""Seconds before the first time."""

LONGEST = 30.0
"""Seconds that a pause grows to, twice as long each time."""


class Restarts:
    """Keeps the time. A worker is its index; times are seconds.

    Args:
        most: how often each worker is started again.

    Example:
        >>> restarts = Restarts(most=2)
        >>> restarts.failed(3, now=10.0), restarts.due(10.5), restarts.due(11.0)
        (1.0, [], [3])
        >>> restarts.failed(3, now=12.0), restarts.failed(3, now=20.0)
        (2.0, None)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: dict[int, int] = {}
        self._at: dict[int, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether somebody will be started again."""
        return bool(self._at)

    def failed(self, worker: int, now: float) -> float | None:
        """It ended with an error; after how many seconds it is started again, ``None``: it is not."""
        times = self._times.get(worker, 0)
        if times >= self._most:
            return None
        self._times[worker] = times + 1
        pause = min(LONGEST, FIRST * 2.0**times)
        self._at[worker] = now + pause
        return pause

    def due(self, now: float) -> list[int]:
        """Those to start now; each is said once."""
        due = sorted(worker for worker, at in self._at.items() if at <= now)
        for worker in due:
            del self._at[worker]
        return due

    def forget(self) -> None:
        """The run ends: nobody is started any more."""
        self._at.clear()
