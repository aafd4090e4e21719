"""The members of a run as the coordinator sees them: who is here, how fast, what they have in hand."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from operator import attrgetter

from .ledger import COMPUTED, QUEUED, STARTED, Ticket

REMEMBERED = 15
"""Durations kept for each size of micro-batch."""

ENOUGH = 5
"""Durations of a size from which its rate is taken to be known, and of a transfer."""

SLOWER = 0.97
"""A larger micro-batch is avoided when its rate is less than this part of the best one's."""

OUTLIER = 3.0
"""A transfer that takes longer than so many times what they take counts as so many: a worker that hung for a second has
no slower link. One that has is believed after a few of them."""

FADE = 0.005
"""By what part a worker that gets nothing to do seems faster with each step, the first time."""

DOUBT = 0.1
"""By what part a transfer does that was measured less than :data:`ENOUGH` times, the first time: something may have
hung then."""

ROUNDING = 1e-9
"""Seconds by which sums of times may differ that are equal but for the order of their parts."""

DEVIATION = 1.25
"""Standard deviation of a normal variable by its mean absolute deviation, which outliers move less: √(π/2)."""


@dataclass(slots=True)
class Mean:
    """An exponentially weighted mean; the first observation replaces a guess, but not what was measured (``known``).

    Its value may be lowered between two observations, if it is believed less. What an outlier is is told by what was
    ``measured``: else it would take the longer to be believed again the longer it was not.

    >>> mean = Mean(1.0)
    >>> mean.add(3.0); mean.add(5.0); mean.value
    3.5
    """

    value: float
    gain: float = 0.25
    known: bool = False
    most: float = math.inf
    seen: int = 0
    measured: float = 0.0

    def add(self, observation: float) -> None:
        """Move the mean towards ``observation``, which counts as at most ``most`` times what is known."""
        self.seen += 1
        if not self.known:
            self.measured, self.known = self.value + (observation - self.value), True
        else:
            most = self.most * (self.measured if self.measured > self.value else self.value)
            self.measured = self.value + ((most if most < observation else observation) - self.value) * self.gain
        self.value = self.measured


@dataclass(slots=True, eq=False)
class Member:
    """A live worker.

    Attributes:
        pace: samples/s it computes now, loading and installing included.
        noise: standard deviation of the logarithm of what a micro-batch takes, by what was expected.
        uplink: seconds from the end of a push's last micro-batch to its arrival.
        turn: seconds from the end of a push's last micro-batch to newer parameters at the worker (``δ`` in the docs).
        downlink: seconds from the publication of parameters to their being at the worker.
        version: newest version the worker is known to hold.
        since: when it joined: what was published before says nothing of the way to it.
        lost: tickets that are no longer its own and about which it has not reported its last.
        groups: the group its tickets of a lot are summed in, by lot.
        awaits: the version that will contain its last push, and when that push began.
        recent, rates: samples/s of the last micro-batches by their size, and the medians.
        used: whether it was granted anything since the newest lot was opened.
        times_out: how often it was found to be of no use, and had to sit out.
        absent: given up on, until it shows progress.
        pushed: number of its last push; they arrive in order, so what is not above it was heard before.
        learnt: grows with what is known of its speed.
        changed: something has changed since :meth:`begins` was last asked that its answer depends on, beside the time.
    """

    worker: int
    pace: Mean
    lookahead: int
    version: int
    since: float = 0.0
    noise: Mean = field(default_factory=lambda: Mean(0.1, gain=0.05, known=True))
    uplink: Mean = field(default_factory=lambda: Mean(0.005, most=OUTLIER))
    turn: Mean = field(default_factory=lambda: Mean(0.02, most=OUTLIER))
    downlink: Mean = field(default_factory=lambda: Mean(0.015, most=OUTLIER))
    tickets: dict[int, Ticket] = field(default_factory=dict)
    recent: dict[int, deque[float]] = field(default_factory=dict)
    rates: dict[int, float] = field(default_factory=dict)
    lost: dict[int, Ticket] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)
    awaits: tuple[int, float] | None = None
    used: bool = True
    sits_out: bool = False
    times_out: int = 0
    absent: bool = False
    pushed: int = -1
    changed: bool = True
    learnt: int = 0
    _outlook: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def learn(self, size: int, seconds: float) -> None:
        """A micro-batch of ``size`` samples took ``seconds``."""
        self.learnt += 1
        # The first is a cold one: it counts as one of several for the pace that was probed, and not for the noise.
        if self.pace.known and self.recent:
            self.noise.add(DEVIATION * abs(math.log(seconds / self.seconds(size))))
        self.pace.add(size / seconds)
        recent = self.recent.get(size)
        if recent is None:
            recent = self.recent[size] = deque(maxlen=REMEMBERED)
        recent.append(size / seconds)
        if len(recent) >= ENOUGH:
            ordered = sorted(recent)  # the median, without statistics' care for what is no list of numbers
            middle = len(ordered) // 2
            self.rates[size] = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    def seconds(self, size: int) -> float:
        """How long a micro-batch of ``size`` samples takes it, as far as is known."""
        return size / self.rates.get(size, self.pace.value)

    def efficient(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Those of ``sizes`` (ascending) that are not known to be slower, per sample, than a smaller one.

        Larger is usually faster, until caches or memory are too small.
        """
        known = {size: self.rates[size] for size in sizes if size in self.rates}
        if not known:
            return sizes
        best = max(known, key=known.__getitem__)
        return tuple([s for s in sizes if s <= best or known.get(s, math.inf) >= SLOWER * known[best]])

    def fade(self) -> None:
        """It sits out for another step, or gets nothing: what is known of its speed grows old, and is believed less.

        So it is tried again: a machine that was disturbed when it was measured may be quick by now. Who has to sit out
        once more is tried half as soon as before, a third, …: all trials of a run together cost little.
        """
        faster = 1.0 + FADE / max(1, self.times_out)
        self.pace.value = faster * min([self.pace.value, *self.rates.values()])
        for transfer in (self.uplink, self.turn, self.downlink):
            doubtful = self.times_out == 1 and 0 < transfer.seen < ENOUGH
            transfer.value /= 1.0 + DOUBT if doubtful else faster
        self.rates.clear()
        self.recent.clear()
        self.changed = True
        self.learnt += 1

    @property
    def cold(self) -> bool:
        """Whether it computes its first micro-batch, and may take parameters in later than it ever will again."""
        if self.recent:
            return False
        return any(ticket.state is STARTED for ticket in (*self.tickets.values(), *self.lost.values()))

    def waits(self, version: int) -> bool:
        """Whether it has a ticket that waits for a version newer than ``version``."""
        return any(ticket.min_version > version and ticket.state is QUEUED for ticket in self.tickets.values())

    def ready(self, now: float, version: int) -> tuple[float, float]:
        """When it will have computed all that it may start once it holds ``version``, and how late it is already.

        Who is late is expected to be late by as much again: a worker that hangs recedes from the plan.

        Args:
            now: server time, seconds.
            version: the newest published version: tickets that need a newer one do not count.

        Returns:
            The time, and by how many seconds it is behind what its own pace promised.
        """
        pace = self.pace.value
        at, late, ahead = now, 0.0, 0
        for ticket in (*self.tickets.values(), *self.lost.values()):
            if ticket.state is STARTED and ticket.started is not None:
                seconds = ticket.size / pace
                at = max(at, ticket.started + seconds)
                late = max(late, now - ticket.started - seconds)
            elif ticket.state is QUEUED and ticket.min_version <= version:
                if ticket.due is not None:
                    late = max(late, now - ticket.due)
                if ticket.id in self.tickets:
                    ahead += ticket.size
        return at + late + ahead / pace, late

    def begins(self, now: float, version: int) -> float:
        """The time that :meth:`ready` says, found out anew only if it is late or has :attr:`changed`."""
        if self.changed:
            self.changed, self._outlook = False, self._look_out(version)
        end, ahead, until = self._outlook
        if now < until:
            return (end if end > now else now) + ahead
        return self.ready(now, version)[0]

    def _look_out(self, version: int) -> tuple[float, float, float]:
        """When what it has begun ends, how long the rest takes, and until when it is not late with any of it."""
        pace = self.pace.value
        end, ahead, until = -math.inf, 0, math.inf
        for ticket in (*self.tickets.values(), *self.lost.values()):
            if ticket.state is STARTED and ticket.started is not None:
                over = ticket.started + ticket.size / pace
                end, until = max(end, over), min(until, over)
            elif ticket.state is QUEUED and ticket.min_version <= version:
                if ticket.due is not None:
                    until = min(until, ticket.due)
                if ticket.id in self.tickets:
                    ahead += ticket.size
        return end, ahead / pace, until - ROUNDING

    def schedule(self, now: float, version: int) -> None:
        """Set when each of its tickets is due: in turn, at its own pace; a push waits for the last of its group."""
        self.changed = True
        if not self.tickets:
            return
        at, pace, uplink = now, self.pace.value, self.uplink.value
        # Called with every event of this worker. It computes the oldest lot first, and of one lot the oldest ticket.
        begun: list[Ticket] = []
        waiting: list[Ticket] = []
        for ticket in self.tickets.values():
            (waiting if ticket.state is QUEUED else begun).append(ticket)
        if len(begun) > 1:
            begun.sort(key=_lot)
        if len(waiting) > 1:
            waiting.sort(key=_lot)
        computed = False
        for ticket in begun:
            if ticket.state is STARTED:
                at = (now if ticket.started is None else ticket.started) + ticket.size / pace
            else:
                computed = True
            ticket.due = at + uplink
        for ticket in waiting:
            least = ticket.min_version
            if least > version:
                ticket.due = None
                continue
            if least > self.version:
                at = max(at, now + self.downlink.value)
            at = (at if at > now else now) + ticket.size / pace
            ticket.due = at + uplink
        if computed and len(self.tickets) > 1:
            last: dict[int, float] = {}
            for ticket in self.tickets.values():
                if ticket.due is not None and ticket.due > last.get(ticket.group, -math.inf):
                    last[ticket.group] = ticket.due
            for ticket in begun:
                if ticket.state is COMPUTED:
                    ticket.due = last[ticket.group]


_lot = attrgetter("lot.index")
