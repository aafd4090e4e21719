"""Optimizer steps that are due: in order, one under way at a time."""

from __future__ import annotations

from collections import deque

from . import commands as c
from .ledger import Lot
from .state import RunState

Place = tuple[int, int]
"""Where a contribution stands in its lot's sum; no two have the same."""

_Held = tuple[Place, float, c.Accumulate]


class StepQueue:
    """Numbers the steps and says them one by one, each after the contributions it needs.

    The next one is said when the numeric layer has reported the one before: in between others may become due.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._waiting: deque[tuple[list[c.Accumulate], c.Step, Lot]] = deque()
        self._under_way = False
        self._held: dict[int, list[_Held]] = {}

    @property
    def idle(self) -> bool:
        """No step is due or under way."""
        return not self._waiting

    def hold(self, lot: Lot, place: Place, weight: float, add: c.Accumulate) -> None:
        """Keep a contribution of ``weight`` until its lot is stepped, to be summed in the order of places then."""
        self._held.setdefault(lot.index, []).append((place, weight, add))

    def push_due(self, lot: Lot, add: c.Accumulate, rate_scale: float, batches: int) -> None:
        """A step for one push, the learning rate scaled by its part of a batch."""
        self._queue([add], add.samples, 1.0, rate_scale, batches, lot)

    def nothing_due(self, lot: Lot, batches: int) -> None:
        """No step, but ``batches`` have ended whose schedule must go on."""
        self._queue([], 0, 1.0, 1.0, batches, lot)

    def lot_due(self, lot: Lot, batch: int) -> None:
        """The step of a complete lot; ``batch`` is ``B``, by which its contributions were divided."""
        held = sorted(self._held.pop(lot.index, []), key=lambda one: one[0])
        if held:
            lot.weight = sum(weight for _, weight, _ in held)  # in this order, too
        # 1 where what was applied is the whole batch: no rounding is added to what synchronous SGD computes.
        rescale = 1.0 if lot.weight in (0.0, batch) else batch / lot.weight
        self._queue([add for _, _, add in held], lot.applied, rescale, 1.0, 1, lot)

    def _queue(
        self, adds: list[c.Accumulate], samples: int, rescale: float, rate: float, batches: int, lot: Lot
    ) -> None:
        step = self._state.issued
        self._waiting.append((adds, c.Step(step, step + 1, samples, rescale, rate, batches), lot))
        self._state.issued += 1

    def say(self) -> list[c.Command]:
        """The next step's commands, if none is under way."""
        if self._under_way or not self._waiting:
            return []
        adds, step, _ = self._waiting[0]
        self._under_way = True
        return [*adds, step]

    def done(self, version: int) -> Lot | None:
        """The step under way made ``version``: returns its lot, or ``None`` if that is not so."""
        if not self._under_way or self._waiting[0][1].version != version:
            return None
        self._under_way = False
        return self._waiting.popleft()[2]

    def needs(self, epoch: int) -> bool:
        """Whether a step of ``epoch`` is still to come."""
        return any(lot.epoch == epoch for _, _, lot in self._waiting)
