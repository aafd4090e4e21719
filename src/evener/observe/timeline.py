"""What each worker did when: an interval for every moment between its joining and the end of the run.

The lines go in, one by one; intervals come out as soon as they are over. Nothing is kept but what is under way, so a
record of any length can be followed. Intervals of one worker come in order, without gaps or overlaps.

All times are those at which the server heard: a message's latency counts for what went before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core import commands as c
from ..core import events as e
from ..trace import EndLine, EventLine, HeaderLine, Line, NoteLine
from .intervals import AWAY, COMPUTING, STALLED, TRANSFERRING, WAITING, Interval
from .stalls import Usual


class _Ticket(NamedTuple):
    ident: int
    step: int
    samples: int
    min_version: int


class _Now(NamedTuple):
    """What a worker does at the moment."""

    state: str
    cause: str
    ticket: int = -1
    step: int = -1
    version: int = -1
    samples: int = 0


@dataclass(slots=True)
class _Worker:
    since: float
    now: _Now
    received: int
    queued: dict[int, _Ticket] = field(default_factory=dict)
    current: _Ticket | None = None
    version: int = -1
    sent: set[int] = field(default_factory=set)
    sits_out: bool = False
    here: bool = True
    pace: Usual = field(default_factory=Usual)
    handover: Usual = field(default_factory=Usual)


class Timeline:
    """Follows a record; :meth:`feed` yields what is over.

    Example:
        >>> from evener.core import commands as c, events as e
        >>> timeline = Timeline()
        >>> lines = [EventLine(0.0, e.Joined(0, pace=100.0), [c.Grant(0, 1, 0, 0, 1, ((0, 10),), 0)]),
        ...          EventLine(0.5, e.Started(0, 1, 0), []), EventLine(0.75, e.Computed(0, 1, 0.25), [])]
        >>> for interval in [*timeline.follow(lines)]: print(interval.state, interval.cause, interval.seconds)
        waiting handover 0.5
        computing  0.25
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._workers: dict[int, _Worker] = {}
        self._idle: set[int] = set()  # wait for what is no event of their own: a version, a ticket, an epoch
        self._issued = self._published = 0
        self._epoch = -1
        self._begun = self._over = False

    def follow(self, lines: Iterable[Line]) -> Iterator[Interval]:
        """All intervals of a whole record."""
        for line in lines:
            yield from self.feed(line)
        yield from self.finish()

    def feed(self, line: Line) -> list[Interval]:
        """Take the next line; returns the intervals that ended with it."""
        done: list[Interval] = []
        match line:
            case EventLine(t, event, commands) if not self._over:
                self.now = max(self.now, t)
                self._hear(event, done)
                for command in commands:
                    self._obey(command, event, done)
            case NoteLine(t) | EndLine(t) if not self._over:
                self.now = max(self.now, t)
            case HeaderLine(t, header) if header.resumed is not None:
                self.now = max(self.now, t)
                self._resume(header.resumed.standing.version, done)
            case _:
                pass
        return done

    def finish(self) -> list[Interval]:
        """The record has no more lines; returns what was under way."""
        done: list[Interval] = []
        if not self._over:
            self._end(done)
        return done

    def _resume(self, version: int, done: list[Interval]) -> None:
        """The server was lost, and with it what was under way; whoever comes back joins the one that goes on."""
        for ident, worker in self._workers.items():
            if not worker.here:
                continue
            if not self._over:
                self._close(ident, worker, done)
            worker.since = self.now
            worker.here, worker.now, worker.current = False, _Now(AWAY, "the server was lost"), None
            worker.queued.clear()
            worker.sent.clear()
        self._idle.clear()
        self._issued = self._published = version
        self._epoch, self._over = -1, False

    # Events -------------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, done: list[Interval]) -> None:
        match event:
            case e.Joined(ident, version, pace):
                self._joined(ident, version, pace, done)
            case e.EpochDrawn(epoch):
                self._epoch = max(self._epoch, epoch)
                self._all_idle(done)
            case _:
                ident = getattr(event, "worker", -1)
                worker = self._workers.get(ident)
                if worker is not None and worker.here:
                    self._of(ident, worker, event, done)

    def _joined(self, ident: int, version: int, pace: float | None, done: list[Interval]) -> None:
        found = self._workers.get(ident)
        if found is not None:
            self._close(ident, found, done)
        worker = self._workers[ident] = _Worker(self.now, _Now(WAITING, "ticket"), version)
        if found is not None:
            worker.handover = found.handover
        if pace:
            worker.pace.learn(1.0 / pace)
        worker.now = self._situation(worker)
        self._idle.add(ident)

    def _of(self, ident: int, worker: _Worker, event: e.Event, done: list[Interval]) -> None:
        match event:
            case e.Left(_, reason):
                self._close(ident, worker, done)
                worker.here, worker.now = False, _Now(AWAY, reason)
                worker.queued.clear()
                worker.sent.clear()
                self._idle.discard(ident)
                return
            case e.Started(_, ticket, version):
                if (found := worker.queued.pop(ticket, None)) is None:
                    return  # a report that came twice, or after its contribution
                if worker.current is not None:
                    worker.sent.add(worker.current.ident)
                worker.current, worker.version = found, version
                worker.received = max(worker.received, version)
            case e.Computed(_, ticket):
                if worker.current is None or worker.current.ident != ticket:
                    return
                worker.sent.add(ticket)
                self._turn(ident, worker, done, None)
                return
            case e.Declined(_, ticket):
                worker.queued.pop(ticket, None)
                if worker.current is not None and worker.current.ident == ticket:
                    self._turn(ident, worker, done, None)
                    return
            case e.Arrived(_, _, tickets):
                for ticket in tickets:
                    worker.queued.pop(ticket, None)
                    worker.sent.discard(ticket)
                if worker.current is not None and worker.current.ident in tickets:
                    self._turn(ident, worker, done, None)
                    return
            case e.Released(_, ticket):
                worker.queued.pop(ticket, None)
            case e.Received(_, version):
                worker.received = max(worker.received, version)
            case _:
                return
        self._look(ident, worker, done)

    def _turn(self, ident: int, worker: _Worker, done: list[Interval], current: _Ticket | None) -> None:
        """Its ticket is through; the interval goes by it, so it is closed before the ticket is forgotten."""
        self._close(ident, worker, done)
        worker.current = current
        worker.now = self._situation(worker)
        self._idle.add(ident)

    # Commands -----------------------------------------------------------------------------------------------

    def _obey(self, command: c.Command, event: e.Event, done: list[Interval]) -> None:
        match command:
            case c.Grant(ident, ticket):
                self._grant(ident, ticket, command, event, done)
            case c.SitOut(ident, why):
                if worker := self._workers.get(ident):
                    worker.sits_out = bool(why)
                    self._look(ident, worker, done)
            case c.Step(_, version):
                self._issued = max(self._issued, version)
                self._all_idle(done, event)
            case c.Publish(version):
                self._published = max(self._published, version)
                self._all_idle(done)
            case c.EndEpoch(epoch):
                if epoch == self._epoch:
                    self._epoch = -1
                    self._all_idle(done)
            case c.Finish():
                self._end(done)
            case _:
                pass

    def _grant(self, ident: int, ticket: int, grant: c.Grant, event: e.Event, done: list[Interval]) -> None:
        begins, self._begun = not self._begun, True
        worker = self._workers.get(ident)
        if worker is not None and worker.here:
            samples = sum(stop - start for start, stop in grant.ranges)
            worker.queued[ticket] = _Ticket(ticket, grant.step, samples, grant.min_version)
            self._look(ident, worker, done, event)
        if begins:
            self._all_idle(done)

    # Intervals ----------------------------------------------------------------------------------------------

    def _situation(self, worker: _Worker) -> _Now:
        if worker.current is not None:
            ticket = worker.current
            return _Now(COMPUTING, "", ticket.ident, ticket.step, worker.version, ticket.samples)
        if worker.sent:  # it computes nothing, so it has sent what it had
            return _Now(TRANSFERRING, "contribution")
        if worker.queued:
            ticket = min(worker.queued.values(), key=lambda one: (one.min_version, one.ident))
            needs = ticket.min_version
            if needs <= worker.received:
                return _Now(WAITING, "handover", ticket.ident, ticket.step)
            if needs <= self._published:
                return _Now(TRANSFERRING, "parameters", ticket.ident, ticket.step, needs)
            return _Now(WAITING, "server" if needs <= self._issued else "step", ticket.ident, ticket.step, needs)
        if worker.sits_out:
            return _Now(WAITING, "sits out")
        if not self._begun:
            return _Now(WAITING, "start")
        return _Now(WAITING, "ticket" if self._epoch >= 0 else "epoch")

    def _all_idle(self, done: list[Interval], event: e.Event | None = None) -> None:
        for ident in tuple(self._idle):
            self._look(ident, self._workers[ident], done, event)

    def _look(self, ident: int, worker: _Worker, done: list[Interval], event: e.Event | None = None) -> None:
        """Close its interval if its situation is another now; ``event``: what made it so."""
        if not worker.here:
            return
        now = self._situation(worker)
        if now == worker.now:
            return
        by = getattr(event, "worker", -1) if worker.now.cause in ("step", "ticket") else -1
        self._close(ident, worker, done, -1 if by == ident else by)
        worker.now = now
        if now.state == COMPUTING:
            self._idle.discard(ident)
        else:
            self._idle.add(ident)

    def _close(self, ident: int, worker: _Worker, done: list[Interval], by: int = -1) -> None:
        start, stop, now = worker.since, self.now, worker.now
        worker.since = stop
        if stop <= start:
            return
        took = usual = stop - start
        stalled = ""
        if now.state == COMPUTING:
            usual, stalled = worker.pace.usual(took, now.samples), "slow"
            if now.samples:
                worker.pace.learn(took, now.samples)
        elif now.cause == "handover":
            usual, stalled = worker.handover.usual(took), "silent"
            worker.handover.learn(took)
        split = stop if usual >= took else start + usual  # as a sum, the end would be rounded
        about = now.ticket, now.step, now.version, now.samples
        done.append(Interval(ident, start, split, now.state, now.cause, by, *about))
        if split < stop:
            done.append(Interval(ident, split, stop, STALLED, stalled, -1, *about))

    def _end(self, done: list[Interval]) -> None:
        """The run is over: who waits, waits for nothing."""
        self._over = True
        for ident, worker in self._workers.items():
            if worker.here and worker.now.cause in ("ticket", "step", "epoch"):
                worker.now = worker.now._replace(cause="end")
            self._close(ident, worker, done)
