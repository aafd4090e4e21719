"""Stale synchronous parallel: nobody is more than ``s`` clocks ahead of the slowest."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from ..members import Member
from ..state import RunState
from .base import whole
from .per_push import AUTO, PerPush


class Stale(PerPush):
    """As asynchronous, but a worker more than ``s`` clocks ahead of the slowest live worker waits.

    A worker's clock ``c`` counts its settled pushes. It may compute at clock ``c`` while ``c − min_j c_j ≤ s``, on
    parameters that hold all updates of clocks ``< c − s`` (Ho et al., "More Effective Distributed ML via a Stale
    Synchronous Parallel Parameter Server", NIPS 2013). Who joins or comes back starts at the slowest's clock; who has
    left does not count.

    Where some workers are slower all the time, the fast ones soon sit at the bound: throughput tends to
    synchronous training's, whatever ``s`` is.

    Args:
        bound: ``s``, clocks.
        push: samples of a push; ``"auto"``: ``B/n``.

    Raises:
        ValueError: ``bound`` is not a whole number from 0, or ``push`` not one from 1.
    """

    name: ClassVar[str] = "stale"

    def __init__(self, bound: int = 3, push: int | str = AUTO) -> None:
        super().__init__(push)
        self.bound = whole("bound", bound, 0, "clocks")
        self._most = self.bound
        self._clocks: dict[int, int] = {}
        self._standing: Counter[int] = Counter()  # workers at each clock
        self._slowest = 0
        self._made: dict[int, int] = {}  # clock → the version that holds all updates made at it, so far

    def start_from(self, state: RunState, member: Member, size: int, now: float) -> int | None:
        """``min_version`` of the computation at its next clock; ``None``: it is too far ahead."""
        clock = self._clocks[member.worker] + len(member.tickets)
        if not self.may_compute(member, clock):
            return None
        newest = clock - self._most
        return max([version for at, version in self._made.items() if at < newest], default=0)

    def may_compute(self, member: Member, clock: int) -> bool:
        """Whether ``member`` may compute at ``clock``."""
        return clock - self._slowest <= self.bound

    def hinges(self, state: RunState, now: float) -> object:
        """Who is too far ahead is so until the slowest gets on."""
        return self._slowest

    # The clocks ---------------------------------------------------------------------------------------------

    def came(self, state: RunState, member: Member, now: float) -> None:
        """It starts where the slowest is."""
        self._clocks[member.worker] = self._slowest
        self._standing[self._slowest] += 1

    def went(self, state: RunState, member: Member, now: float) -> None:
        """Nobody waits for it any more."""
        self._leave(self._clocks.pop(member.worker))

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        """One clock more."""
        clock = self._clocks[member.worker]
        self._made[clock] = state.issued
        self._clocks[member.worker] = clock + 1
        self._standing[clock + 1] += 1
        self._leave(clock)

    def _leave(self, clock: int) -> None:
        """One worker less is at ``clock``: the slowest may be further than that now."""
        self._standing[clock] -= 1
        if self._standing[clock]:
            return
        del self._standing[clock]
        if clock != self._slowest or not self._standing:
            return
        self._slowest = min(self._standing)
        # Nobody computes at a clock below the slowest's, so all that is older than this is asked for as one.
        oldest = self._slowest - self._most
        past = [at for at in self._made if at < oldest]
        if past:
            self._made[oldest - 1] = max(self._made.pop(at) for at in past)
