"""What a stall is: something that takes far longer than it does as a rule."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.members import Mean

LONGER = 4.0
"""Times what was predicted, from which on it is a stall."""

SHORTEST = 0.05
"""Seconds beyond what was predicted that a stall has at least: an operating system takes less away now and then."""


@dataclass(slots=True)
class Usual:
    """How long something takes as a rule: by ``amount``, so that a longer ticket may take longer.

    >>> ticket = Usual()
    >>> ticket.learn(2.0, amount=10)
    >>> ticket.usual(4.0, amount=10), ticket.usual(100.0, amount=10)
    (4.0, 2.0)
    """

    mean: Mean = field(default_factory=lambda: Mean(0.0, gain=0.2))

    def usual(self, seconds: float, amount: float = 1.0) -> float:
        """``seconds``, or less: what was to be expected, where ``seconds`` are far longer."""
        if not self.mean.known:
            return seconds
        expected = self.mean.value * amount
        return expected if seconds > max(LONGER * expected, expected + SHORTEST) else seconds

    def learn(self, seconds: float, amount: float = 1.0) -> None:
        """It took ``seconds`` this time."""
        # A stall says little about the next ticket; but a worker that became slow for good must be believed in time.
        most = LONGER * self.mean.value if self.mean.known else seconds
        self.mean.add(min(seconds / amount, most))
