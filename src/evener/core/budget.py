"""The staleness budget: how many samples of a step may be stale, and who may run ahead on it."""

from __future__ import annotations

from collections.abc import Iterable

from .ledger import Lot
from .members import Member

BANK = 4.0
"""Steps' worth of budget that may be saved up for a hold-up, and as many may be owed after one."""

MARGIN = 0.03
"""Part of the budget that is kept free where not all may be stale: what was saved before is spent on top of it, and the
mean of some seconds is to be within the bound, too."""


class Budget:
    """What may be stale.

    Args:
        fraction: ``φ``, the mean share of a batch's samples that may have staleness ≥ 1.

    Attributes:
        runners: who may run ahead.

    Example:
        >>> budget = Budget(0.5)
        >>> budget.settle(Lot(0, 0, 0, 100, [], 0, stale=40), batch=100)
        >>> round(budget.of(Lot(1, 0, 100, 100, [(100, 200)], 100)), 1), budget.covers(8), budget.covers(8, promised=4)
        (51.6, True, False)
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self.runners: set[int] = set()
        self._planned = fraction * (1.0 - MARGIN * (1.0 - fraction))
        self._saved = 0.0

    def of(self, lot: Lot) -> float:
        """Samples of ``lot`` that those who run ahead may spend."""
        return max(0.0, self._planned * lot.quota + self._saved / BANK)

    def runs_ahead(self, member: Member, lot: Lot) -> bool:
        """Whether ``member`` may start on ``lot`` early: with its first ticket of it."""
        return member.worker in self.runners and not any(ticket.lot is lot for ticket in member.tickets.values())

    def covers(self, samples: int, promised: int = 0) -> bool:
        """Whether so many more may be stale, of what was saved, whoever computes them; ``promised`` may be already."""
        return self._saved - promised >= samples

    def left(self, lots: Iterable[Lot], batch: int) -> float:
        """Samples of a step under way that may move to the next: what was saved, may be spent in a step, or be owed.

        ``lots``: what those of them are stale with already, or may be, is spent: by those, too, who run ahead into the
        next step, although its own budget does not count yet. A late ticket rather waits than spends what others plan
        with.
        """
        spent = sum(lot.stale + lot.promised for lot in lots)
        return max(0.0, self._saved + self._planned * batch + BANK * self.fraction * batch - spent)

    def settle(self, lot: Lot, batch: int) -> None:
        """What a step did not spend is saved, up to a few steps' worth."""
        saved = self._saved + self._planned * lot.quota - lot.stale
        self._saved = min(saved, BANK * self.fraction * batch)

    def memory(self) -> tuple[tuple[str, float], ...]:
        """What was saved, or is owed."""
        return (("bank", self._saved),)

    def recall(self, memory: tuple[tuple[str, float], ...]) -> None:
        """It still is."""
        self._saved = dict(memory).get("bank", 0.0)
