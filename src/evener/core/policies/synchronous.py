"""Bulk synchronous parallel: traditional data parallelism."""

from __future__ import annotations

import math
from typing import ClassVar

from ..ledger import Lot
from ..members import Member
from ..state import RunState
from .base import Assignment, Policy


class Synchronous(Policy):
    """Every live worker gives an equal share ``B/n`` on version ``t``; then one step; then all go on.

    Contributions are summed in rank order, so two workers compute what PyTorch's DDP computes, to the bit:
    ``ḡ₁/2 + ḡ₂/2`` (2-D convolutions too, if ``prepare`` has ``channels_last=False``). The share of a worker that is
    lost goes to those who have not had theirs yet, or else is split among all the living; one that joins takes part
    from the next step that is not handed out yet. (Valiant 1990 for the model; Goyal et al. 2017 for its use in SGD.)
    """

    name: ClassVar[str] = "synchronous"
    in_rank_order: ClassVar[bool] = True

    def __init__(self) -> None:
        self._waiting: dict[int, set[int]] = {}

    def assign(self, state: RunState, member: Member, now: float) -> Assignment | None:
        """An equal part of the first lot that owes this worker one."""
        for lot in state.ledger.lots.values():
            if lot.free == 0:
                continue
            # Who is still to be served of this lot. Fixed when the lot is first handed out, so that shares are
            # equal; once all are served, what has come back is shared out anew.
            waiting = self._waiting.get(lot.index)
            if not waiting:
                waiting = self._waiting[lot.index] = {m.worker for m in state.active()}
            if member.worker in waiting:
                size = max(math.ceil(lot.free / len(waiting)), min(2, lot.free))
                return Assignment(lot, size, lot.index)
        return None

    def granted(self, state: RunState, member: Member, lot: Lot) -> None:
        """It has been served."""
        self._waiting[lot.index].discard(member.worker)

    def went(self, state: RunState, member: Member, now: float) -> None:
        """Nobody waits for it to be served; should it come back, it takes part from the next lot on."""
        for waiting in self._waiting.values():
            waiting.discard(member.worker)

    def closed(self, state: RunState, lot: Lot) -> None:
        """Forget the lot."""
        self._waiting.pop(lot.index, None)
