"""What the policies that step once per push have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from ..members import Member
from ..state import RunState
from .base import Assignment, Policy, whole

AUTO = "auto"
"""The word for an option whose value is found out during the run."""


class PerPush(Policy):
    """Each push is stepped as it arrives, the learning rate scaled by ``k/B`` for its ``k`` samples.

    There is no batch to collect: an epoch is one lot. Subclasses say who may compute now, and on parameters how
    new (:meth:`start_from`).

    Args:
        push: samples of a push; ``"auto"``: ``B/n`` for ``n`` workers. Smaller ones are less stale and cost more
            transfers.

    Raises:
        ValueError: ``push`` is neither ``"auto"`` nor a whole number from 1.
    """

    collects: ClassVar[bool] = False

    def __init__(self, push: int | str = AUTO) -> None:
        self.push = push if push == AUTO else whole("push", push, 1, "samples (or the word 'auto')")

    def check(self, batch: int) -> None:
        """A push is at most a batch, and more than one sample unless the batch is one."""
        least = min(2, batch)
        if isinstance(self.push, int) and not least <= self.push <= batch:
            raise ValueError(f"push must be {least} to {batch} samples (the batch), not {self.push}")

    def quota(self, state: RunState, unlotted: int) -> int:
        """One lot per epoch."""
        return unlotted

    @abstractmethod
    def start_from(self, state: RunState, member: Member, size: int, now: float) -> int | None:
        """The oldest version that ``member``'s next push, of ``size`` samples, may be computed on; ``None``: wait.

        Tickets are granted one ahead: those in ``member.tickets`` come before the one that is asked for.
        """

    def assign(self, state: RunState, member: Member, now: float) -> Assignment | None:
        """The next push's worth of the oldest epoch that has any."""
        lot = state.ledger.oldest_free()
        if lot is None:
            return None
        size = min(self.size(state), lot.free)
        version = self.start_from(state, member, size, now)
        return None if version is None else Assignment(lot, size, version)

    def size(self, state: RunState) -> int:
        """Samples of a push."""
        if isinstance(self.push, int):
            return self.push
        batch = state.settings.batch
        part = batch // (len(state.members) or 1)
        return part if part >= 2 else min(2, batch)
