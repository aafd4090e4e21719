"""A run whose server is lost at some moment and that goes on from its last checkpoint: does each position count once?

The account is kept from events and commands alone. Of the server that was lost, what its checkpoint's version contains
counts, and nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import Policy
from ..core.ranges import Range
from ..core.standing import Standing
from ..simulation.drive import Simulation
from ._books import promise
from .schedules import Schedule

Position = tuple[int, int]


class Ends:
    """Which positions have come to their end, in the order in which steps contained them.

    Attributes:
        ends: by position ``(epoch, place)``: how often it ended.
        batches: how often the step scheduler was due.
    """

    def __init__(self, collects: bool) -> None:
        self.ends: Counter[Position] = Counter()
        self.batches = 0
        self._collects = collects
        self._tickets: dict[int, tuple[int, int, tuple[Range, ...]]] = {}
        self._pushes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._open: dict[int, list[int]] = {}

    def copy(self) -> Ends:
        """What is contained in versions so far, alone."""
        other = Ends(self._collects)
        other.ends, other.batches = self.ends.copy(), self.batches
        return other

    def feed(self, event: e.Event, commands: list[c.Command]) -> None:
        """Take the next event."""
        match event:
            case e.Arrived(worker, push, tickets):
                self._pushes[worker, push] = tickets
                if any(isinstance(said, c.Discard) and said.refused and said.push == push for said in commands):
                    for ticket in tickets:
                        self._settle(ticket)
            case e.Declined(worker, ticket) if ticket in self._tickets and self._tickets[ticket][0] == worker:
                self._settle(ticket)
            case e.StepDone(version) if self._collects:
                self._close(version - 1)
        for command in commands:
            match command:
                case c.Grant(worker, ticket, epoch, step, _, ranges, _):
                    self._tickets[ticket] = worker, epoch, ranges
                    self._open.setdefault(step, []).append(ticket)
                case c.Returned(ticket, _):
                    del self._tickets[ticket]
                    self._take(ticket)
                case c.Moved(ticket, step):
                    self._take(ticket)
                    self._open.setdefault(step, []).append(ticket)
                case c.Accumulate(worker, push):
                    for ticket in self._pushes.pop((worker, push)):
                        self._settle(ticket)
                case c.Dropped(epoch, ranges):
                    self._end(epoch, ranges)
                case c.Step():
                    self.batches += command.batches

    def _settle(self, ticket: int) -> None:
        if not self._collects:
            _, epoch, ranges = self._tickets.pop(ticket)
            self._take(ticket)
            self._end(epoch, ranges)

    def _close(self, step: int) -> None:
        for ticket in self._open.pop(step, []):
            _, epoch, ranges = self._tickets.pop(ticket)
            self._end(epoch, ranges)

    def _take(self, ticket: int) -> None:
        for tickets in self._open.values():
            if ticket in tickets:
                tickets.remove(ticket)

    def _end(self, epoch: int, ranges: tuple[Range, ...]) -> None:
        self.ends.update((epoch, place) for start, stop in ranges for place in range(start, stop))


class _Server:
    """Looks on while a coordinator runs, and keeps its last standing."""

    def __init__(self, collects: bool, dies: float, every: float, chance: random.Random) -> None:
        self.ends = Ends(collects)
        self.kept: tuple[Standing, Ends] | None = None
        self.lost = False
        self._dies = dies
        self._every = every
        self._chance = chance

    def __call__(self, coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        if self.lost:
            return
        self.ends.feed(event, commands)
        if self._chance.random() < self._every and (standing := coordinator.standing()) is not None:
            self.kept = standing, self.ends.copy()
        self.lost = self._chance.random() < self._dies


def prove_resumed(schedule: Schedule, make: Callable[[Schedule], Policy], seed: int, most: int = 4) -> int:
    """Run ``schedule``, losing its server up to ``most`` times; how often it was lost.

    Args:
        schedule: cluster, settings and positions.
        make: called with the schedule, gives the policy, new each time.
        seed: of the moments of checkpoints and losses.
        most: losses.

    Raises:
        BrokenPromise: a position did not count once, or the step scheduler was not due once per batch.
    """
    chance = random.Random(f"resumed {seed}")
    past, before = None, Ends(make(schedule).collects)
    for resumed in range(most + 1):
        policy = make(schedule)
        server = _Server(policy.collects, chance.choice((0.0, 0.001, 0.02)) if resumed < most else 0.0, 0.1, chance)
        server.ends = before.copy()
        run = Simulation(schedule.cluster, schedule.settings, policy, schedule.positions, server, past=past)
        for _ in run.work(schedule.limit()):
            if server.lost:
                break
        if not server.lost:
            finish = run.outcome.finish
            promise(finish is not None, "a resumed run ended without a word")
            assert finish is not None
            if finish.ok:
                _complete(schedule, server.ends)
            return resumed
        if server.kept is not None:
            past, before = server.kept
        if past is not None:
            past = replace(past, resumed=resumed + 1)
    raise AssertionError("not reached")


def _complete(schedule: Schedule, ends: Ends) -> None:
    settings = schedule.settings
    wanted = Counter((epoch, place) for epoch in range(settings.epochs) for place in range(schedule.positions))
    twice = [position for position, count in ends.ends.items() if count > 1]
    promise(not twice, f"positions {twice[:5]} (epoch, place) ended twice")
    missing = list((wanted - ends.ends).keys())
    promise(not missing and ends.ends == wanted, f"positions {missing[:5]} (epoch, place) did not end")
    whole, rest = divmod(schedule.positions, settings.batch)
    due = settings.epochs * (whole + (1 if rest and not settings.drop_last else 0))
    promise(ends.batches == due, f"the step scheduler was due {ends.batches} times, not {due}")
