"""What a plan looks at, as of one moment: when each who takes part could begin, and when steps close.

Every question of a round of assignments is about the same moment, so what they have in common is found out once.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property

from . import plan
from .ledger import Lot
from .members import Member
from .plan import Basin
from .state import FEW, RunState
from .team import Team

NOBODY = (math.inf, -1)
"""Never delivers anything."""


class _Nearest:
    """Who could deliver ``piece`` samples first, of those who could begin on a step.

    Of many workers most could only begin after the first would have delivered: they are not looked at.

    Args:
        piece: samples.
        basins: who could begin and when, those first who could first.
        delayed: who begins later than that: when, and its samples/s.
    """

    def __init__(self, piece: int, basins: Sequence[Basin], delayed: Mapping[int, tuple[float, float]]) -> None:
        self._piece = piece
        self._basins = basins
        self._delayed = delayed
        self._looked_at = 0
        self._landings = [NOBODY, NOBODY]
        self._found: tuple[tuple[float, int], tuple[float, int]] | None = None

    def two(self) -> tuple[tuple[float, int], tuple[float, int]]:
        """When it could be delivered first, and by whom, and the same of anybody else."""
        if self._found is None:
            first = second = self._pop()
            while second == first != NOBODY:  # who was delayed may be here twice
                second = self._pop()
            if first == NOBODY:
                second = self._pop()
            heapq.heappush(self._landings, first)
            heapq.heappush(self._landings, second)
            self._found = first, second
        return self._found

    def delay(self, worker: int) -> None:
        """It begins later than was thought."""
        heapq.heappush(self._landings, self._landing(worker))
        if self._found is not None and worker in (self._found[0][1], self._found[1][1]):
            self._found = None

    def _pop(self) -> tuple[float, int]:
        """The first that is still so: who was delayed has a later one, too."""
        basins, delayed, landings = self._basins, self._delayed, self._landings
        while True:
            while self._looked_at < len(basins) and basins[self._looked_at][0] <= landings[0][0]:
                start, pace, worker = basins[self._looked_at]
                self._looked_at += 1
                landing = self._landing(worker) if worker in delayed else (start + self._piece / pace, worker)
                heapq.heappush(landings, landing)
            first = heapq.heappop(landings)
            if first[1] not in delayed or first == self._landing(first[1]):
                return first

    def _landing(self, worker: int) -> tuple[float, int]:
        start, pace = self._delayed[worker]
        return start + self._piece / pace, worker


class Step:
    """An open step, if the one before it closes at ``begins``, as all see it who are busy until then.

    Args:
        lot: the step's.
        basins: who could begin on it and when, by id.
        landed: when the last of its tickets should be here.

    Attributes:
        few: so few could begin on it that each matters.
    """

    def __init__(self, lot: Lot, basins: list[Basin], landed: float) -> None:
        self.lot = lot
        self.few = len(basins) <= FEW
        self._landed = landed
        self._basins = sorted(basins, key=plan.from_time)
        self._starts = [start for start, _, _ in self._basins]
        self._nearest: dict[int, _Nearest] = {}  # by the samples of the piece
        self._delayed: dict[int, tuple[float, float]] = {}

    def close(self, mine: Basin) -> float:
        """When it closes, if ``mine`` is what the worker that asks could do."""
        at = bisect_left(self._starts, mine[0])
        if at < len(self._basins) and self._basins[at] == mine:
            return self.close_of_all
        if not self.few:
            return max(self._close_with(mine), self._landed)
        # It could begin sooner than the others think, or it sits out; and of equals it comes first.
        rivals = [basin for basin in self._basins if basin[2] != mine[2]]
        return max(plan.close_time([mine, *rivals], self.lot.free), self._landed)

    def _close_with(self, mine: Basin) -> float:
        """The close if ``mine`` is in the place of what was thought of that worker, who is one of many.

        So nobody else begins, or is through, between this close and the other one.
        """
        start, pace, worker = mine
        level = self.close_of_all
        thought, _ = self._begins.get(worker, (math.inf, pace))
        more = pace * (max(0.0, level - start) - max(0.0, level - thought))
        flow = self._flow + (0.0 if thought < level else pace)
        return level - more / flow

    @cached_property
    def _begins(self) -> dict[int, tuple[float, float]]:
        return {worker: (start, pace) for start, pace, worker in self._basins}

    def delay(self, worker: int, samples: int) -> None:
        """Somebody was given so many: what else it does comes later by as much. When all are through is the same."""
        if worker in self._begins:
            start, pace = self._begins[worker]
            self._begins[worker] = self._delayed[worker] = start + samples / pace, pace
            for nearest in self._nearest.values():
                nearest.delay(worker)

    @cached_property
    def _flow(self) -> float:
        """Samples/s of those who have begun when it closes."""
        return sum([pace for start, pace, _ in self._basins if start < self.close_of_all])

    @cached_property
    def close_of_all(self) -> float:
        """When it closes, as all see it who are busy until it begins."""
        return max(plan.close_time(self._basins, self.lot.free), self._landed)

    def lands_first(self, mine: Basin, smallest: int, elapsed: float = 0.0) -> bool:
        """Whether nobody could deliver what is left sooner: then it is this worker's, however small.

        ``elapsed``: seconds since the forecast, by which whoever idles has fallen behind it.
        """
        piece = min(self.lot.free, smallest)
        nearest = self._nearest.get(piece)
        if nearest is None:
            nearest = self._nearest[piece] = _Nearest(piece, self._basins, self._delayed)
        (first, whose), (second, _) = nearest.two()
        landing = mine[0] + piece / mine[1]
        return landing <= (second if whose == mine[2] else first) + elapsed

    def has_time_for(self, size: int) -> set[int]:
        """Who could deliver ``size`` samples before it closes."""
        close = self.close_of_all
        return {worker for worker, (start, pace) in self._begins.items() if pace * (close - start) >= size}

    def first(self) -> set[int]:
        """Who could deliver first what somebody has asked for."""
        return {nearest.two()[0][1] for nearest in self._nearest.values()}


class _Out:
    """Tickets of a lot that are out: what a forecast has to know of them."""

    def __init__(self, lot: Lot, now: float, version: int) -> None:
        self.waiting: dict[int, int] = {}
        due = []
        for ticket in lot.tickets.values():
            if ticket.min_version > version:
                self.waiting[ticket.worker] = self.waiting.get(ticket.worker, 0) + ticket.size
            if ticket.due is not None:
                due.append(ticket.due)
        self.landed = max(due, default=now)


class Forecast:
    """Who could begin on which open step when, and when it closes.

    Args:
        state: at present; a forecast holds as long as ``state.glance`` is the same.
        team: who takes part.
        now: server time, seconds; kept, as ``team`` is.
        reach: steps by which those who run ahead may be ahead.
        runners: they.
    """

    def __init__(self, state: RunState, team: Team, now: float, reach: int, runners: Set[int]) -> None:
        self.now = now
        self._state = state
        self.team = team
        self._reach = reach
        self._runners = runners
        self._out: dict[int, _Out] = {}
        self._steps: dict[tuple[int, float], Step] = {}
        self._told = False

    def granted(self, worker: int, samples: int) -> None:
        """Somebody was given so many, and this forecast is kept."""
        for step in self._steps.values():
            step.delay(worker, samples)

    @cached_property
    def promised(self) -> int:
        """Samples under way that may be stale."""
        return sum(lot.promised for lot in self._state.ledger.lots.values())

    @cached_property
    def _ready(self) -> list[float]:
        return [member.begins(self.now, self._state.version) for member in self.team.members]

    def useful(self) -> set[int]:
        """Who could deliver something first and, said once, who has time for a ticket of the step under way."""
        found: set[int] = set()
        for step in self._steps.values():
            if step.lot.free:
                found |= step.first()
                if not self._told and step.lot.index <= self._state.version:
                    found |= step.has_time_for(self.team.sizes[0])
        self._told = True
        return found

    @cached_property
    def least_late(self) -> float:
        """By how many seconds all who take part are late, at least."""
        late = (member.ready(self.now, self._state.version)[1] for member in self.team.members)
        return min(late, default=math.inf)

    def steps(self, member: Member, now: float, last: float = math.inf) -> Iterator[tuple[Step, Basin, float]]:
        """Each step of which something is free, what ``member`` could do for it, and when it closes; oldest first.

        ``last``: the newest that counts.

        Until the step before closes the others are busy with it; ``member`` is through with its part of that.
        """
        ready = member.begins(now, self._state.version)
        close = begins = self.now
        for lot in self._state.ledger.lots.values():
            if lot.index > last:
                return
            out = self._out.get(lot.index)
            if out is None:
                out = self._out[lot.index] = _Out(lot, self.now, self._state.version)
            (mine,) = self._basins(lot, (member,), (ready,), close)
            if lot.free == 0 and mine[0] <= out.landed:
                close = begins = out.landed  # nothing is left to do but to wait
                continue
            step = self._step(lot, begins, out)
            close = step.close(mine)
            begins = close if step.few else step.close_of_all
            if lot.free:
                yield step, mine, close

    def _step(self, lot: Lot, begins: float, out: _Out) -> Step:
        found = self._steps.get((lot.index, begins))
        if found is None:
            ready = [time if time > begins else begins for time in self._ready]
            basins = self._basins(lot, self.team.members, ready, begins)
            found = self._steps[lot.index, begins] = Step(lot, basins, out.landed)
        return found

    def _basins(self, lot: Lot, members: Sequence[Member], ready: Sequence[float], close: float) -> list[Basin]:
        """When ``members``, idle from ``ready``, could begin on ``lot``, if the lot before it closes at ``close``."""
        index, version, published = lot.index, self._state.version, self._state.published
        waiting, runners = self._out[index].waiting, self._runners
        basins = []
        for member, start in zip(members, ready, strict=True):
            worker, pace = member.worker, member.pace.value
            if index > member.version:  # it must wait for parameters, or part of the way to this step
                needs = index - (self._reach if worker in runners else 0)
                if needs > version:
                    start = max(start, close + member.downlink.value)
                elif needs > member.version and needs in published:
                    start = max(start, published[needs] + member.downlink.value)
                # What it has of this step already, and may not start yet, comes first.
                if waiting and worker in waiting:
                    start += waiting[worker] / pace
            basins.append((start + member.uplink.value, pace, worker))
        return basins
