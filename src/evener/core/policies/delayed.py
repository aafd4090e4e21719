"""Delayed: asynchronous windows closed by true barriers. The seed of this project."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ledger import Ticket, TicketState
from ..members import Member
from ..monitor import Monitor
from ..state import RunState
from .base import Late, whole
from .per_push import AUTO, PerPush


@dataclass(slots=True)
class Window:
    """What lies between two barriers.

    Attributes:
        version: that all began with.
        opened: when, in seconds.
        pushes: settled pushes of each worker that takes part: its clock.
        closing: since when nothing more is begun.
    """

    version: int = 0
    opened: float = 0.0
    pushes: dict[int, int] = field(default_factory=dict)
    closing: float | None = None


class Delayed(PerPush):
    """Asynchronous windows closed by true barriers, after which all clocks restart from 0.

    A window lasts until the slowest live worker's push lands. In it nobody makes more than ``d`` pushes, or starts one
    that is predicted to land later than half its own duration after the window's end. Then everything in flight
    lands, all its steps are done, and all take the same version. In a window worker ``i`` makes about
    ``min(d, v_i/v_min)`` pushes, ``v`` being paces, so throughput is ``(1/n)·Σ min(d, v_i/v_min)`` times synchronous
    training's. With ``delay="auto"``, ``d = ⌈r⌉ + 1``, where ``r`` is the slowest worker's time from push to push over
    the fastest's, transfers included, estimated anew at each barrier.

    This is our reading of the delay synchronization strategy of Zhang et al., "A Parallel Strategy for Convolutional
    Neural Network Based on Heterogeneous Cluster for Mobile Information System", 2017
    (doi 10.1155/2017/3824765). Its full text was not at hand; ``docs/policies.md`` has the other readings and why
    this one was taken.

    Args:
        delay: ``d``, pushes in a window; ``"auto"``: from the measured paces.
        push: samples of a push; ``"auto"``: ``B/n``.

    Raises:
        ValueError: ``delay`` or ``push`` is neither ``"auto"`` nor a whole number from 1.
    """

    name: ClassVar[str] = "delayed"

    def __init__(self, delay: int | str = AUTO, push: int | str = AUTO) -> None:
        super().__init__(push)
        self.delay = delay if delay == AUTO else whole("delay", delay, 1, "pushes (or the word 'auto')")
        self.limit = 1
        self._monitor = Monitor()
        self._window = Window()

    def start_from(self, state: RunState, member: Member, size: int, now: float) -> int | None:
        """The window's version; ``None``: no more pushes of this worker in this window."""
        if not state.ledger.tickets:
            # Everything has landed. What it changes may still be in steps to come: the version asked for has them.
            self._open(state, now)
        window = self._window
        if member.worker not in window.pushes or window.closing is not None:
            return None  # who joined after the window was opened waits for the next
        under_way = len(member.tickets)
        made = window.pushes[member.worker] + under_way
        if made >= self.limit or (made and not self._lands_in_time(state, member, size, now)):
            return None
        if not under_way:
            self._monitor.begins(member.worker, now)
        return window.version

    # The window ---------------------------------------------------------------------------------------------

    def _open(self, state: RunState, now: float) -> None:
        team = state.active()
        self._window = Window(state.issued, now, {member.worker: 0 for member in team})
        if isinstance(self.delay, int):
            self.limit = self.delay
            return
        times = [self._push_seconds(member, self.size(state)) for member in team]
        self.limit = math.ceil(max(times) / min(times)) + 1

    def _lands_in_time(self, state: RunState, member: Member, size: int, now: float) -> bool:
        """Whether one more push would land before the window ends, or half its own duration later."""
        seconds = self._push_seconds(member, size)
        since = self._monitor.since(member.worker)
        ready = now if since is None else since + len(member.tickets) * seconds
        return max(ready, now) + seconds <= self._end(state, now) + seconds / 2

    def _end(self, state: RunState, now: float) -> float:
        """When the last of the first pushes should land. Who is late is expected to be late by as much again."""
        end = now
        for worker, made in self._window.pushes.items():
            if not made:
                due = self._window.opened + self._push_seconds(state.members[worker], self.size(state))
                end = max(end, due, 2 * now - due)
        return end

    def _push_seconds(self, member: Member, size: int) -> float:
        """``p_i``: from one push to the next, as measured; before that, what its pace promises."""
        measured = self._monitor.seconds(member.worker, size)
        if measured is not None:
            return measured
        return size / member.pace.value + member.uplink.value

    def _landed(self, now: float) -> None:
        if self._window.pushes and all(self._window.pushes.values()) and self._window.closing is None:
            self._window.closing = now

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        """Count it; the slowest's closes the window."""
        self._monitor.landed(member.worker, samples, now)
        if member.worker in self._window.pushes:
            self._window.pushes[member.worker] += 1
        self._landed(now)

    def went(self, state: RunState, member: Member, now: float) -> None:
        """Nobody waits for it any more."""
        self._monitor.forget(member.worker)
        self._window.pushes.pop(member.worker, None)
        self._landed(now)

    # What was granted ahead and not begun when the window closes goes back --------------------------------------

    def deadline(self, state: RunState) -> float | None:
        """At once, if there is such a ticket."""
        return self._window.closing if self._unstarted(state) else None

    def late(self, state: RunState, now: float) -> Sequence[Late]:
        """Take it back: it could not land in time."""
        return [Late(ticket) for ticket in self._unstarted(state)]

    def _unstarted(self, state: RunState) -> list[Ticket]:
        if self._window.closing is None:
            return []
        tickets = state.ledger.tickets.values()
        return [ticket for ticket in tickets if ticket.state is TicketState.QUEUED and ticket.revoked is None]
