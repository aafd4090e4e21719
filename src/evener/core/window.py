"""A window of the delayed policy: who takes part, what each has pushed, and when it should end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Window:
    """What lies between two barriers: it ends when everybody's first push has landed.

    Args:
        version: that all begin with.
        opened: when, in seconds.
        team: who takes part.

    Attributes:
        pushes: settled pushes of each: its clock.
        closing: since when nothing more is begun.

    Example:
        >>> window = Window(version=0, opened=0.0, team=[0, 1])
        >>> window.expect([(3.0, 1), (2.0, 0)])
        >>> window.end(1.0), window.end(2.9)  # who is late is expected to be late by as much again
        (3.0, 3.8)
        >>> window.landed(0, 2.0); window.landed(1, 3.1); window.closing
        3.1
    """

    def __init__(self, version: int, opened: float, team: Iterable[int]) -> None:
        self.version = version
        self.opened = opened
        self.pushes = dict.fromkeys(team, 0)
        self.closing: float | None = None
        self._none_yet = len(self.pushes)
        self._expected: deque[tuple[float, int]] = deque()  # of some the first push may have landed

    def landed(self, worker: int, now: float) -> None:
        """A push of ``worker`` has settled."""
        if worker in self.pushes:
            self.pushes[worker] += 1
            if self.pushes[worker] == 1:
                self._none_yet -= 1
                self._close(now)

    def left(self, worker: int, now: float) -> None:
        """Nobody waits for it any more."""
        if self.pushes.pop(worker, None) == 0:
            self._none_yet -= 1
        self._close(now)

    def _close(self, now: float) -> None:
        if self.pushes and not self._none_yet and self.closing is None:
            self.closing = now

    def waits_for(self) -> list[int]:
        """Whose first push is still to come."""
        return [worker for worker, made in self.pushes.items() if not made]

    def expect(self, first: Iterable[tuple[float, int]]) -> None:
        """When the first pushes that are still to come should land, and whose they are."""
        self._expected = deque(sorted(first))

    def end(self, now: float) -> float:
        """When the last of them should land. Who is late is expected to be late by as much again."""
        first = self._first()
        return max(now, first[-1][0], 2 * now - first[0][0]) if first else now

    def promised(self, now: float) -> float | None:
        """The :meth:`end`, which does not change while this does not; ``None``: it recedes with every moment."""
        first = self._first()
        return first[-1][0] if first and 2 * now - first[0][0] <= first[-1][0] else None

    def _first(self) -> deque[tuple[float, int]]:
        first = self._expected
        while first and self.pushes.get(first[-1][1]) != 0:
            first.pop()
        while first and self.pushes.get(first[0][1]) != 0:
            first.popleft()
        return first
