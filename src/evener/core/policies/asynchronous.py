"""Asynchronous parallel: nobody waits."""

from __future__ import annotations

from typing import ClassVar

from ..members import Member
from ..state import RunState
from .base import Assignment, Policy


class Asynchronous(Policy):
    """Each push is applied at once, the learning rate scaled by ``k/B`` for its ``k`` samples; nobody waits.

    A push is ``B/n`` samples. Throughput is the sum of the workers'; the price is staleness of about the number of
    workers, in steps (Recht et al. 2011; Dean et al. 2012).
    """

    name: ClassVar[str] = "asynchronous"
    collects: ClassVar[bool] = False

    def quota(self, state: RunState, unlotted: int) -> int:
        """One lot per epoch: there is no batch to collect."""
        return unlotted

    def assign(self, state: RunState, member: Member, now: float) -> Assignment | None:
        """The next ``B/n`` samples of the oldest epoch that has any."""
        batch = state.settings.batch
        push = max(batch // max(1, len(state.members)), min(2, batch))
        for lot in state.lots():
            if lot.free:
                return Assignment(lot, min(push, lot.free), 0)
        return None
