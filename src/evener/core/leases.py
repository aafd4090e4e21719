"""What is done about tickets that hold the others up, and about workers that do not finish theirs."""

from __future__ import annotations

from . import commands as c
from .feeding import Feeder
from .holdings import Holdings
from .members import Member
from .policies.base import Policy
from .state import RunState

LEASE = 10.0
"""A ticket is given up when it is late by this many times its expected duration, and by :func:`patience_with`."""

MANY = 100.0
"""Times its expected duration that a ticket may be late whatever it is, where that is less than the run's patience."""

LEAST = 5.0
"""Seconds that it may be late, at least: any machine hangs for a moment."""

EVERY = 1.0
"""Seconds from one look at the leases to the next."""


class Leases:
    """Carries the policy's remedies for late tickets out, and gives up on workers that hang.

    Args:
        state: of the run.
        policy: says what is late; hears who is given up on, and who is back.
        holdings, feeder: of the run.
        out: what is done is said here.
    """

    def __init__(
        self, state: RunState, policy: Policy, holdings: Holdings, feeder: Feeder, out: list[c.Command]
    ) -> None:
        self._state = state
        self._policy = policy
        self._holdings = holdings
        self._feeder = feeder
        self._out = out
        self._looked = 0.0

    def deadline(self) -> float | None:
        """When to :meth:`relieve` although nothing happened."""
        first = self._policy.deadline(self._state)
        if self._state.ledger.tickets:
            look = self._looked + EVERY
            return look if first is None or look < first else first
        return first

    def relieve(self, now: float) -> None:
        """Do something about tickets that hold the others up."""
        for late in self._policy.late(self._state, now):
            ticket = late.ticket
            if late.to is not None:
                self._state.ledger.move(ticket, late.to)
                self._out.append(c.Moved(ticket.id, late.to.index))
                self._feeder.offer_all()
            elif late.expire:
                self._holdings.give_back(ticket, "overdue")
            else:
                ticket.revoked = now
                self._out.append(c.Revoke(ticket.worker, ticket.id))
            # What moved or expired is pushed as it is: tickets granted from now on are summed apart from it.
            if member := self._state.members.get(ticket.worker):
                member.groups = {lot: group for lot, group in member.groups.items() if group != ticket.group}
        if now >= self._looked + EVERY:
            self._looked = now
            for member in list(self._state.members.values()):
                if not member.absent and self._ended(member, now):
                    self._give_up_on(member, now)

    def _ended(self, member: Member, now: float) -> bool:
        """Whether a lease of one of its tickets has."""
        for ticket in (*member.tickets.values(), *member.lost.values()):
            if ticket.due is None:
                continue
            expected = ticket.size / member.pace.value + member.uplink.value
            if ticket.started is None and ticket.min_version > member.version:
                expected += member.turn.value
            if now - ticket.due > max(patience_with(member, expected, self._state.settings.patience), LEASE * expected):
                return True
        return False

    def _give_up_on(self, member: Member, now: float) -> None:
        """It answers but does not finish: free what it has, and wait until it shows progress."""
        member.absent = True
        self._out.append(c.SitOut(member.worker, "it does not finish what it has begun"))
        for ticket in list(member.tickets.values()):
            self._holdings.give_back(ticket, f"worker {member.worker} does not finish it")
        self._feeder.offer_all()
        self._policy.went(self._state, member, now)

    def back(self, member: Member, now: float) -> None:
        """It shows progress again: how late it was is forgiven."""
        member.absent = False
        if not member.sits_out:
            self._out.append(c.SitOut(member.worker, ""))
        for ticket in member.lost.values():
            ticket.due = None
        member.changed = True
        self._feeder.offer(member.worker)
        self._policy.came(self._state, member, now)


def patience_with(member: Member, expected: float, patience: float) -> float:
    """Seconds by which something that takes ``member`` so long as ``expected`` may be late, whatever it is.

    As long as it is not known how long its micro-batches and its transfers take: the run's ``patience``. Then its own
    times count, so that nobody waits half a minute for a worker that took milliseconds before it stopped.

    >>> from evener.core.members import Mean
    >>> member = Member(0, Mean(100.0), lookahead=1, version=0)
    >>> patience_with(member, 0.02, patience=30.0)
    30.0
    >>> for known in (member.uplink, member.turn): known.add(0.01)
    >>> for _ in range(5): member.learn(2, 0.02)
    >>> patience_with(member, 0.02, patience=30.0), patience_with(member, 0.2, 30.0), patience_with(member, 2.0, 30.0)
    (5.0, 20.0, 30.0)
    """
    if not (member.rates and member.uplink.known and member.turn.known):
        return patience
    return min(patience, max(LEAST, MANY * expected))
