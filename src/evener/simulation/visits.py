"""What each worker did in a record: its micro-batches, its pushes, its waiting; from the events alone."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core import commands as c
from ..core import events as e
from ..trace import BrokenLine, EventLine, Header, HeaderLine, Line

VERSIONS = 4096
"""Publications that are remembered."""


@dataclass(slots=True)
class _Ticket:
    size: int
    granted: float
    min_version: int
    idle: bool
    version: int = -1
    after: int = -1
    gap: float = math.inf
    pulled: int = 0
    arrived: float | None = None
    computed: float | None = None


@dataclass(slots=True)
class Visit:
    """A worker, from its joining to its leaving; times in seconds, by the record's clock.

    Attributes:
        worker, joined, left: who, and from when to when (``None``: to the end).
        pace: samples/s of its probe, if it made one.
        again: whether it had been there before.
        heard, declined: micro-batches that it reported of, and that its script took no step after.
        pushes, refused: that arrived, and that held something that is not a number.
        begins, sizes, seconds: of each micro-batch: when, samples, what it took.
        after, gaps: the ticket before it (-1: none), and the time between (infinite: none).
        pulled: sets of parameters that came while it was computed.
        pushed: the last ticket of each push.
        turns: from a grant to one that was idle to what it began with it.
        uplinks: from the end of a micro-batch to the arrival of the push that it completed, if the one before it had
            arrived by then: on a slow link they queue.
        waits: from a publication to the micro-batch that waited for nothing else.
        downlinks: from a publication, or the request for it if that came later, to the report that it is there.
    """

    worker: int
    joined: float
    pace: float | None
    received: int
    left: float | None = None
    asked: float | None = None
    ended: float = -math.inf
    landed: float = -math.inf
    last: int = -1
    begun: int = -1
    busy: int = 0
    again: bool = False
    heard: int = 0
    declined: int = 0
    pushes: int = 0
    refused: int = 0
    held: dict[int, _Ticket] = field(default_factory=dict)
    begins: array[float] = field(default_factory=lambda: array("d"))
    sizes: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    after: array[int] = field(default_factory=lambda: array("q"))
    gaps: array[float] = field(default_factory=lambda: array("d"))
    pulled: array[float] = field(default_factory=lambda: array("d"))
    pushed: set[int] = field(default_factory=set)
    turns: array[float] = field(default_factory=lambda: array("d"))
    uplinks: array[float] = field(default_factory=lambda: array("d"))
    waits: array[float] = field(default_factory=lambda: array("d"))
    downlinks: array[float] = field(default_factory=lambda: array("d"))


class Visits:
    """A record's visits: feed it the lines.

    Attributes:
        header: of the record, once it came.
        origin: when the first epoch began, by the record's clock; ``None``: none has begun.
        last: when the last event came.
        broken: why it was not read to its end, in words; empty: it was.
        positions: of the largest epoch.
        visits: in order of joining.
        steps: seconds that each optimizer step took.
        taken: seconds from each epoch's end until its snapshot was taken.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.origin: float | None = None
        self.last = 0.0
        self._over = False
        self.broken = ""
        self.positions = 0
        self.visits: list[Visit] = []
        self._here: dict[int, Visit] = {}
        self._published: dict[int, float] = {}
        self._stepped: dict[int, float] = {}
        self.steps = array("d")
        self._ended: dict[int, float] = {}
        self.taken = array("d")

    def feed(self, line: Line) -> bool:
        """Take the next line; whether to go on."""
        match line:
            case HeaderLine(_, header):
                self.header = header
            case EventLine(t, event, commands) if not self._over:
                self.last = t
                self._hear(event, t)
                for command in commands:
                    self._obey(command, t)
            case BrokenLine(number, why, _):
                self.broken = f"the record was read up to line {number}, which cannot be read ({why})"
                return False
            case _:
                pass
        return True

    # Events -------------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, t: float) -> None:
        match event:
            case e.Joined(worker, version, pace):
                self._leave(worker, t)
                known = any(visit.worker == worker for visit in self.visits)
                self._here[worker] = Visit(worker, t, pace, version, again=known)
                self.visits.append(self._here[worker])
            case e.Left(worker):
                self._leave(worker, t)
            case e.EpochDrawn(_, positions):
                self.positions = max(self.positions, positions)
                if self.origin is None:
                    self.origin = t
            case e.StepDone(version):
                if (issued := self._stepped.pop(version, None)) is not None:
                    self.steps.append(t - issued)
            case e.SnapshotTaken(epoch):
                if (ended := self._ended.pop(epoch, None)) is not None:
                    self.taken.append(t - ended)
            case e.StopAsked() | e.Tick():
                pass
            case _:
                if (visit := self._here.get(event.worker)) is not None:
                    self._report(visit, event, t)

    def _leave(self, worker: int, t: float) -> None:
        if (visit := self._here.pop(worker, None)) is not None:
            visit.left = t
            visit.held.clear()

    def _report(self, visit: Visit, event: e.Event, t: float) -> None:
        match event:
            case e.Started(_, number, version):
                ticket = visit.held.get(number)
                if ticket is not None and ticket.version < 0:
                    ticket.version = version
                    ticket.after, ticket.gap = visit.last, t - visit.ended
                    if version == visit.received and visit.asked is None:
                        visit.asked = t  # with what it has in use, it asks for newer parameters
            case e.Computed(_, number, seconds):
                self._computed(visit, number, seconds, t)
            case e.Declined(_, number):
                if visit.held.pop(number, None):
                    visit.declined += 1
                    visit.heard += 1
                    visit.busy -= 1
                    visit.ended = t
            case e.Released(_, number):
                if visit.held.pop(number, None):
                    visit.busy -= 1
            case e.Arrived(_, _, tickets, verdict=verdict):
                self._arrived(visit, tickets, verdict, t)
            case e.Received(_, version):
                self._received(visit, version, t)
            case _:
                pass

    def _computed(self, visit: Visit, number: int, seconds: float, t: float) -> None:
        ticket = visit.held.get(number)
        if ticket is None or ticket.computed is not None:
            return
        begin = t - seconds
        ticket.computed = t
        visit.heard += 1
        visit.busy -= 1
        visit.begins.append(begin)
        visit.sizes.append(ticket.size)
        visit.seconds.append(max(seconds, 1e-9))
        visit.after.append(ticket.after)
        visit.gaps.append(ticket.gap)
        visit.pulled.append(ticket.pulled)
        if ticket.version > visit.begun:
            visit.begun = ticket.version
            published = self._published.get(ticket.version)
            # It had nothing to do but to wait for these parameters.
            if published is not None and max(visit.ended, ticket.granted) < published:
                visit.waits.append(begin - published)
        if ticket.idle:
            visit.turns.append(max(0.0, begin - ticket.granted))
        visit.ended, visit.last = t, number
        if ticket.arrived is not None:
            self._crossed(visit, t, ticket.arrived)
            del visit.held[number]

    def _arrived(self, visit: Visit, tickets: Sequence[int], verdict: str, t: float) -> None:
        last = visit.held.get(tickets[-1]) if tickets else None
        if last is None or last.arrived is not None:
            return
        visit.pushes += 1
        visit.pushed.add(tickets[-1])
        visit.refused += verdict != "ok"
        if last.computed is None:  # bulk and control travel apart
            last.arrived = t
        else:
            self._crossed(visit, last.computed, t)
        for number in tickets:
            if number != tickets[-1] or last.computed is not None:
                visit.held.pop(number, None)

    @staticmethod
    def _crossed(visit: Visit, sent: float, arrived: float) -> None:
        if visit.landed <= sent:
            visit.uplinks.append(arrived - sent)
        visit.landed = arrived

    def _received(self, visit: Visit, version: int, t: float) -> None:
        if version <= visit.received:
            return
        for ticket in visit.held.values():  # a few; one of them is being computed, if any is
            if ticket.version >= 0 and ticket.computed is None:
                ticket.pulled += 1
        published = self._published.get(version)
        if published is not None and visit.asked is not None:
            visit.downlinks.append(t - max(published, visit.asked))
        visit.received = version
        queued = [one for one in visit.held.values() if one.version < 0]
        waits = visit.busy == len(queued) > 0 and all(one.min_version > version for one in queued)
        visit.asked = t if waits else None

    # Commands -----------------------------------------------------------------------------------------------

    def _obey(self, command: c.Command, t: float) -> None:
        match command:
            case c.Grant(worker, number):
                if visit := self._here.get(worker):
                    size = sum(stop - start for start, stop in command.ranges)
                    idle = visit.busy == 0 and command.min_version <= visit.received
                    visit.busy += 1
                    if visit.asked is None and not visit.sizes:
                        visit.asked = t
                    visit.held[number] = _Ticket(size, t, command.min_version, idle)
            case c.Step(version=version):
                self._stepped[version] = t
            case c.Publish(version):
                self._published[version] = t
                self._published.pop(version - VERSIONS, None)
            case c.EndEpoch(epoch):
                self._ended[epoch] = t
            case c.Finish():
                self._over = True
            case _:
                pass
