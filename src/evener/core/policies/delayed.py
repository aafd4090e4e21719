"""Delayed: asynchronous windows closed by true barriers. The seed of this project."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from ..ledger import QUEUED, Ticket
from ..members import Member
from ..monitor import Monitor
from ..state import RunState
from ..window import Window
from .base import Late, whole
from .per_push import AUTO, PerPush

RECEDED = 0.02
"""Part of a window by which its end must recede before those of many workers who were passed over are asked again."""

TINY = 1e-9
"""Seconds under which a window does not last."""


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
        self._window = Window(0, 0.0, ())
        self._foreseen: tuple[int, int | None] | None = None  # size of a push; the state, of a guess
        self._cleared = False  # nothing is out any more that the closing window has no use for

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

    def hinges(self, state: RunState, now: float) -> object:
        """On the window, and as long as that is open, on its end, which recedes while somebody is late."""
        window, lot = self._window, state.ledger.oldest_free()
        if lot is None or not state.ledger.tickets:
            return None  # the next window is opened by whoever asks
        if window.closing is not None:
            return window
        size = self.size(state)
        end = self._foresee(state).promised(now)
        if not state.few:
            # Of many, nobody is asked again for every moment by which it recedes.
            receded = 0 if end is not None else round(math.log(max(window.end(now) - window.opened, TINY)) / RECEDED)
            return window, min(size, lot.free), end, receded
        # The last push of an epoch may be smaller, and soon be done.
        return None if end is None or lot.free <= size * len(state.members) else (window, size, end)

    def pauses(self, state: RunState) -> bool:
        """While the window closes and something is in flight."""
        return self._window.closing is not None and bool(state.ledger.tickets)

    # The window ---------------------------------------------------------------------------------------------

    def _open(self, state: RunState, now: float) -> None:
        team = state.active()
        self._window = Window(state.issued, now, [member.worker for member in team])
        self._foreseen, self._cleared = None, False
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
        return max(ready, now) + seconds <= self._foresee(state).end(now) + seconds / 2

    def _foresee(self, state: RunState) -> Window:
        """The window, with its end foreseen: once, unless that is a guess."""
        window, size = self._window, self.size(state)
        if self._foreseen != (size, None) and self._foreseen != (size, state.glance):
            waits_for = [state.members[worker] for worker in window.waits_for()]
            window.expect((window.opened + self._push_seconds(member, size), member.worker) for member in waits_for)
            guess = any(self._monitor.seconds(member.worker, size) is None for member in waits_for)
            self._foreseen = size, state.glance if guess else None
        return window

    def _push_seconds(self, member: Member, size: int) -> float:
        """``p_i``: from one push to the next, as measured; before that, what its pace promises."""
        measured = self._monitor.seconds(member.worker, size)
        if measured is not None:
            return measured
        return size / member.pace.value + member.uplink.value

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        """Count it; the slowest's closes the window."""
        self._monitor.landed(member.worker, samples, now)
        self._window.landed(member.worker, now)

    def went(self, state: RunState, member: Member, now: float) -> None:
        """Nobody waits for it any more."""
        self._monitor.forget(member.worker)
        self._window.left(member.worker, now)

    # What was granted ahead and not begun when the window closes goes back --------------------------------------

    def deadline(self, state: RunState) -> float | None:
        """At once, if there is such a ticket."""
        if self._window.closing is None or self._cleared:
            return None
        self._cleared = not self._unstarted(state)  # and nothing is granted before the next window
        return None if self._cleared else self._window.closing

    def late(self, state: RunState, now: float) -> Sequence[Late]:
        """Take it back: it could not land in time."""
        if self._window.closing is None or self._cleared:
            return ()
        return [Late(ticket) for ticket in self._unstarted(state)]

    @staticmethod
    def _unstarted(state: RunState) -> list[Ticket]:
        tickets = state.ledger.tickets.values()
        return [ticket for ticket in tickets if ticket.state is QUEUED and ticket.revoked is None]
