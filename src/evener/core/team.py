"""Who takes part in a plan: how fast all of them are, and all but one."""

from __future__ import annotations

import heapq
import math
from functools import cached_property

from . import plan
from .members import Member
from .state import RunState


class Team:
    """The members that take part, by id.

    Args:
        state: at present.
        same: an earlier team of the same members, if they are.

    Attributes:
        members: those that do not sit out and are not absent.
        sizes: of the tickets that they are given, ascending.
    """

    def __init__(self, state: RunState, same: Team | None = None) -> None:
        batch, micro_batch = state.settings.batch, state.settings.micro_batch
        if same is None:
            self.members = state.active()
            self.sizes = (min(micro_batch, batch),) if micro_batch else plan.ladder(batch, max(1, len(self.members)))
            self._places = {member.worker: place for place, member in enumerate(self.members)}
        else:
            self.members, self.sizes, self._places = same.members, same.sizes, same._places
        self.paces = [member.pace.value for member in self.members]
        self._pace = sum(self.paces)
        self._batch = batch

    def others_pace(self, member: Member) -> float:
        """Samples/s of all but ``member``."""
        place = self._places.get(member.worker)
        return self._pace - (0.0 if place is None else self.paces[place])

    def others_step(self, member: Member) -> float:
        """Seconds that all but ``member`` compute for a batch; never (``inf``) where there is nobody else."""
        place = self._places.get(member.worker)
        if not self.paces or (place is not None and len(self.paces) == 1):
            return math.inf
        # Nor can they cut tickets smaller than the smallest.
        whole = self._whole_by_all if place is None else self._whole_by_others[place]
        return max(self._batch / max(self.others_pace(member), 1e-9), whole)

    def others_trip(self, member: Member) -> float:
        """Seconds of transfers, to and from the nearest of all but ``member``; 0 where there is nobody else."""
        first, second = self._nearest
        mine = self._places.get(member.worker)
        nearest = second if mine is not None and self.trips[mine] == first else first
        return nearest if nearest < math.inf else 0.0

    @cached_property
    def trips(self) -> list[float]:
        """Seconds of each one's transfers, to and from it."""
        return [member.downlink.value + member.uplink.value for member in self.members]

    @cached_property
    def _nearest(self) -> tuple[float, float]:
        """The two shortest of :attr:`trips`, which may be equal; infinite where there are fewer."""
        first, second = heapq.nsmallest(2, [*self.trips, math.inf, math.inf])
        return first, second

    @cached_property
    def _smallest(self) -> tuple[list[float], int]:
        """Seconds that each takes for a smallest ticket, and how many of them a batch is."""
        size = self.sizes[0]
        return [member.seconds(size) for member in self.members], math.ceil(self._batch / size)

    @cached_property
    def _whole_by_all(self) -> float:
        return plan.whole_tickets(*self._smallest)

    @cached_property
    def _whole_by_others(self) -> list[float]:
        return plan.whole_tickets_without(*self._smallest)
