"""Dynamic stale synchronous parallel: the bound follows the measured paces."""

from __future__ import annotations

from typing import ClassVar

from ..members import Member
from ..state import RunState
from .base import whole
from .per_push import AUTO
from .stale import Stale


class Dynamic(Stale):
    """Stale synchronous parallel whose bound adapts in ``[s_min, s_max]``.

    Zhao et al., "Dynamic Stale Synchronous Parallel Distributed Training for Deep Learning", ICDCS 2019: when the
    fastest worker ``p`` is ``s_min`` clocks ahead of the slowest, ``q``, its next pushes are predicted from the time
    ``a`` of the last and the interval ``I`` between the last two, and it may go on for the ``r*`` iterations after
    which it waits least::

        r* = argmin over 0 ≤ r ≤ r_max of min over 1 ≤ k ≤ r_max + 1 of |(a_q + k·I_q) − (a_p + r·I_p)|

    Of equal waits the longest run is taken. Then it waits until it is at most ``s_min`` ahead, unless the rule, asked
    again, grants more. Ours: ``r_max`` is what is left up to ``s_max``, so that ``s_max`` is never passed; tickets are
    granted one ahead, so ``a_p`` is predicted for the last of them; and parameters are as fresh as under ``stale``
    with bound ``s_max``.

    Args:
        s_min: the least bound, clocks.
        s_max: the largest, clocks.
        push: samples of a push; ``"auto"``: ``B/n``.

    Raises:
        ValueError: a bound is not a whole number from 0, ``s_min`` is above ``s_max``, or ``push`` is not from 1.
    """

    name: ClassVar[str] = "dynamic"

    def __init__(self, s_min: int = 3, s_max: int = 15, push: int | str = AUTO) -> None:
        super().__init__(whole("s_min", s_min, 0, "clocks"), push)
        self.s_min = s_min
        self.s_max = whole("s_max", s_max, 0, "clocks")
        if s_min > s_max:
            raise ValueError(f"s_min must not be above s_max, but {s_min} > {s_max}")
        self._most = s_max
        self._pushed: dict[int, tuple[float, float | None]] = {}  # when last, and the interval before
        self._until: dict[int, int] = {}  # the last clock that the rule has granted a worker
        self._waits: set[int] = set()

    def may_compute(self, member: Member, clock: int) -> bool:
        """Within ``s_min``, or within what the published rule grants the fastest."""
        worker = member.worker
        lead = clock - self._slowest
        if lead <= self.s_min:
            self._waits.discard(worker)
            return True
        if worker in self._waits:
            return False
        if clock > self._until.get(worker, -1):
            fastest = self._clocks[worker] == max(self._clocks.values())
            extra = self._worthwhile(member, self.s_max - lead + 1) if fastest else 0
            if extra == 0:
                self._waits.add(worker)
                return False
            self._until[worker] = clock + extra - 1
        return True

    def _worthwhile(self, member: Member, most: int) -> int:
        """``r*``, 0 to ``most``."""
        slowest = min(self._clocks, key=lambda worker: (self._clocks[worker], worker))
        pushed, interval = self._pushed.get(member.worker, (0.0, None))
        slow_pushed, slow_interval = self._pushed.get(slowest, (0.0, None))
        if interval is None or slow_interval is None or most <= 0:
            return 0
        ready = pushed + len(member.tickets) * interval

        def wait(extra: int) -> float:
            at = ready + extra * interval
            return min(abs(slow_pushed + k * slow_interval - at) for k in range(1, most + 2))

        return min(range(most + 1), key=lambda extra: (wait(extra), -extra))

    def went(self, state: RunState, member: Member, now: float) -> None:
        """Forget its paces, too."""
        super().went(state, member, now)
        self._pushed.pop(member.worker, None)
        self._until.pop(member.worker, None)
        self._waits.discard(member.worker)

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        """Note the time."""
        before = self._pushed.get(member.worker)
        self._pushed[member.worker] = now, None if before is None else now - before[0]
        super().settled(state, member, samples, now)
