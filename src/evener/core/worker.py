"""The worker's machine: which ticket next, on which parameters, and when to push and pull.

Rules, all of them local:

- Of the queued tickets that the parameters at hand allow, compute the one of the lowest step.
- Newer parameters are installed at the last moment: between two micro-batches.
- Consecutive tickets of one group are summed; the sum is pushed when the next ticket belongs to another
  group, or when there is nothing to compute.
- A slow link gets no backlog: with nothing to compute, a sum waits for the push before it to land, and goes on growing
  if more of its group comes; and no ticket begins that would need a third push under way.
- While a ticket is computed, one request for newer parameters is under way.
"""

from __future__ import annotations

from operator import attrgetter

from . import commands as c
from . import events as e

PUSHES = 2
"""Pushes under way at once: while one is received, the next can be sent."""


class WorkerCore:
    """Decides for one worker. ``now`` is that worker's own monotonic clock, in seconds.

    Args:
        worker: the id the coordinator knows this worker by.
        version: the version of the parameters the model starts with.
    """

    def __init__(self, worker: int, version: int) -> None:
        self.worker = worker
        self.installed = version
        self.received = version
        self.current: e.Granted | None = None
        self.queue: list[e.Granted] = []
        self.held: list[tuple[e.Granted, int]] = []
        self._began = 0.0
        self._pulling = False
        self._pushing = 0

    def handle(self, event: e.WorkerEvent, now: float) -> list[c.WorkerCommand]:
        """Take one event and return what to do about it, in order."""
        out: list[c.WorkerCommand] = []
        match event:  # the frequent ones first, and by their kind alone, which is quickest
            case e.Granted():
                self.queue.append(event)
                if len(self.queue) > 1:
                    self.queue.sort(key=_turn)
            case e.ComputeDone():
                self._computed(event.declined, now, out)
            case e.VersionReady():
                self.received = max(self.received, event.version)
                self._pulling = False
                out.append(c.Tell(e.Received(self.worker, event.version)))
            case e.Landed():
                self._pushing -= 1
            case e.Revoked():
                self._revoked(event.ticket, out)
        if self.current is None:
            self._next(now, out)
        return out

    def waits_for_version(self) -> bool:
        """Whether the worker idles although it has tickets: only newer parameters are missing."""
        return self.current is None and bool(self.queue)

    def _revoked(self, ticket: int, out: list[c.WorkerCommand]) -> None:
        for queued in self.queue:
            if queued.ticket == ticket:
                self.queue.remove(queued)
                out.append(c.Tell(e.Released(self.worker, ticket)))
                return
        # Started already (the coordinator has heard, or will): the ticket stays ours.

    def _computed(self, declined: bool, now: float, out: list[c.WorkerCommand]) -> None:
        done = self.current
        if done is None:
            raise RuntimeError("ComputeDone without a ticket under way")
        self.current = None
        if declined:
            out.append(c.Tell(e.Declined(self.worker, done.ticket)))
        else:
            self.held.append((done, self.installed))
            out.append(c.Tell(e.Computed(self.worker, done.ticket, now - self._began)))

    def _next(self, now: float, out: list[c.WorkerCommand]) -> None:
        ticket = None
        for queued in self.queue:
            if queued.min_version <= self.received:
                ticket = queued
                break
        if self.held and (ticket is None or ticket.group != self.held[0][0].group):
            if self._pushing < (1 if ticket is None else PUSHES):
                self._pushing += 1
                tickets = tuple([held.ticket for held, _ in self.held])
                out.append(c.Push(tickets, tuple([version for _, version in self.held])))
                self.held.clear()
            else:
                ticket = None
        if ticket is not None:
            self.queue.remove(ticket)
            if self.received > self.installed:
                self.installed = self.received
                out.append(c.Install(self.installed))
            self.current = ticket
            self._began = now
            out.append(c.Tell(e.Started(self.worker, ticket.ticket, self.installed)))
            out.append(c.Compute(ticket.ticket, ticket.epoch, ticket.ranges, self.installed, ticket.step))
        # One request at a time: the answer is the newest version there is, so a slow link gets no backlog. It is
        # made when the parameters at hand are in use or too old, so little is fetched that is never used.
        if not self._pulling and (self.received == self.installed or self.waits_for_version()):
            self._pulling = True
            out.append(c.Pull(self.received))


_turn = attrgetter("step", "ticket")
