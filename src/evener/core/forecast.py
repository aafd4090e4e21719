"""What a plan looks at, as of one moment: who takes part, when each could begin, and when steps close.

Every question of a round of assignments is about the same moment, so what they have in common is found out once.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Set
from functools import cached_property

from . import plan
from .ledger import Lot
from .members import Member
from .plan import Basin
from .state import RunState


class Team:
    """The members that take part, by id.

    Attributes:
        members: those that do not sit out and are not absent.
        sizes: of the tickets that they are given, ascending.
    """

    def __init__(self, state: RunState) -> None:
        batch, micro_batch = state.settings.batch, state.settings.micro_batch
        self.members = state.active()
        self.paces = [member.pace.value for member in self.members]
        self.sizes = (min(micro_batch, batch),) if micro_batch else plan.ladder(batch, max(1, len(self.members)))
        self._batch = batch
        self._places = {member.worker: place for place, member in enumerate(self.members)}

    def others_pace(self, member: Member) -> float:
        """Samples/s of all but ``member``."""
        return sum(_without(self.paces, self._places.get(member.worker)))

    def others_step(self, member: Member) -> float:
        """Seconds that all but ``member`` compute for a batch; never (``inf``) where there is nobody else."""
        place = self._places.get(member.worker)
        others = _without(self.paces, place)
        if not others:
            return math.inf
        # Nor can they cut tickets smaller than the smallest.
        whole = self._whole_by_all if place is None else self._whole_by_others[place]
        return max(self._batch / sum(others), whole)

    def others_trip(self, member: Member) -> float:
        """Seconds of transfers, to and from the nearest of all but ``member``; 0 where there is nobody else."""
        return min(_without(self.trips, self._places.get(member.worker)), default=0.0)

    @cached_property
    def trips(self) -> list[float]:
        """Seconds of each one's transfers, to and from it."""
        return [member.downlink.value + member.uplink.value for member in self.members]

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


def _without(values: list[float], place: int | None) -> list[float]:
    return values if place is None else values[:place] + values[place + 1 :]


class Step:
    """An open step, if the one before it closes at ``begins``, as all see it who are busy until then.

    Args:
        lot: the step's.
        basins: who could begin on it and when, by id.
        landed: when the last of its tickets should be here.
    """

    def __init__(self, lot: Lot, basins: list[Basin], landed: float) -> None:
        self.lot = lot
        self._landed = landed
        self._basins = sorted(basins, key=plan.from_time)
        self._starts = [start for start, _, _ in self._basins]

    def close(self, mine: Basin) -> float:
        """When it closes, if ``mine`` is what the worker that asks could do."""
        at = bisect_left(self._starts, mine[0])
        if at < len(self._basins) and self._basins[at] == mine:
            return self._close
        # It could begin sooner than the others think, or it sits out; and of equals it comes first.
        rivals = [basin for basin in self._basins if basin[2] != mine[2]]
        return max(plan.close_time([mine, *rivals], self.lot.free), self._landed)

    @cached_property
    def _close(self) -> float:
        return max(plan.close_time(self._basins, self.lot.free), self._landed)

    def lands_first(self, mine: Basin, smallest: int) -> bool:
        """Whether nobody could deliver what is left sooner: then it is this worker's, however small."""
        piece = min(self.lot.free, smallest)
        landing = mine[0] + piece / mine[1]
        return all(landing <= start + piece / pace or worker == mine[2] for start, pace, worker in self._basins)


class _Out:
    """Tickets of a lot that are out: what a forecast has to know of them."""

    def __init__(self, lot: Lot, now: float, version: int) -> None:
        self.waiting: dict[int, int] = {}
        self.stale = 0
        due = []
        for ticket in lot.tickets.values():
            if ticket.min_version > version:
                self.waiting[ticket.worker] = self.waiting.get(ticket.worker, 0) + ticket.size
            if ticket.due is not None:
                due.append(ticket.due)
            if (ticket.min_version if ticket.version is None else ticket.version) < lot.index:
                self.stale += ticket.size
        self.landed = max(due, default=now)


class Forecast:
    """Who could begin on which open step when, and when it closes.

    Args:
        state: at present; a forecast holds as long as ``state.changes`` is the same.
        team: who takes part.
        now: server time, seconds.
        reach: steps by which those who run ahead may be ahead.
        runners: they.
    """

    def __init__(self, state: RunState, team: Team, now: float, reach: int, runners: Set[int]) -> None:
        self._state = state
        self._team = team
        self._now = now
        self._reach = reach
        self._runners = runners
        self._out = {lot.index: _Out(lot, now, state.version) for lot in state.lots()}
        self._ready = {member.worker: member.ready(now, state.version) for member in team.members}
        self._steps: dict[tuple[int, float], Step] = {}

    @property
    def promised(self) -> int:
        """Samples under way that may be stale."""
        return sum(out.stale for out in self._out.values())

    def least_late(self) -> float:
        """By how many seconds all who take part are late, at least."""
        return min((late for _, late in self._ready.values()), default=math.inf)

    def steps(self, member: Member) -> Iterator[tuple[Step, Basin, float]]:
        """Each step of which something is free, what ``member`` could do for it, and when it closes; oldest first.

        Until the step before closes the others are busy with it; ``member`` is through with its part of that.
        """
        ready, _ = self._ready.get(member.worker) or member.ready(self._now, self._state.version)
        close = self._now
        for lot in self._state.lots():
            mine = self._basin(member, lot, ready, close)
            landed = self._out[lot.index].landed
            if lot.free == 0 and mine[0] <= landed:
                close = landed  # nothing is left to do but to wait
                continue
            step = self._step(lot, close)
            close = step.close(mine)
            if lot.free:
                yield step, mine, close

    def _step(self, lot: Lot, begins: float) -> Step:
        found = self._steps.get((lot.index, begins))
        if found is None:
            basins = [
                self._basin(member, lot, max(ready, begins), begins)
                for member, (ready, _) in zip(self._team.members, self._ready.values(), strict=True)
            ]
            found = self._steps[lot.index, begins] = Step(lot, basins, self._out[lot.index].landed)
        return found

    def _basin(self, member: Member, lot: Lot, ready: float, close: float) -> Basin:
        """When ``member``, idle from ``ready``, could begin on ``lot``, if the lot before it closes at ``close``."""
        state = self._state
        needs = lot.index - (self._reach if member.worker in self._runners else 0)
        if needs > state.version:
            ready = max(ready, close + member.downlink.value)
        elif needs > member.version and (published := state.published.get(needs)) is not None:
            ready = max(ready, published + member.downlink.value)
        pace = member.pace.value
        # What it has of this step already, and may not start yet, comes first.
        if waiting := self._out[lot.index].waiting.get(member.worker):
            ready += waiting / pace
        return ready + member.uplink.value, pace, member.worker
