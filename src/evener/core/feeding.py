"""Who is offered a ticket, and when: those with room, at the moments at which the answer may have changed."""

from __future__ import annotations

from . import commands as c
from .ledger import QUEUED, Lot
from .members import Member
from .policies.base import Policy
from .state import RunState

ASK_AGAIN = 0.25
"""Seconds after which a policy that left free positions to somebody better placed is asked again."""


class Feeder:
    """Keeps account of who may have room for a ticket, and asks the policy for one.

    Args:
        state: of the run.
        policy: says who gets what.
        out: what is granted is said here.
    """

    def __init__(self, state: RunState, policy: Policy, out: list[c.Command]) -> None:
        self._state = state
        self._policy = policy
        self._out = out
        self._hungry: set[int] = set()
        self._passed: dict[object, set[int]] = {}  # by what the policy's answer hinges on
        self._passed_since = 0.0
        self._again = False

    def offer(self, worker: int) -> None:
        """``worker`` may have room, or something for it may be there."""
        self._hungry.add(worker)

    def offer_all(self) -> None:
        """There may be something for everybody."""
        self._hungry.update(self._state.members)

    def offer_again(self) -> None:
        """Whom the policy has passed over may be the best placed by now."""
        self._again = True

    def left(self, worker: int) -> None:
        """It is gone."""
        self._hungry.discard(worker)
        for hinge, passed in list(self._passed.items()):
            if hinge is not None and worker in passed:
                passed.discard(worker)
                self._passed.setdefault(None, set()).add(worker)
                if not passed:
                    del self._passed[hinge]

    def deadline(self) -> float | None:
        """When to :meth:`offer_again` although nothing happened."""
        return self._passed_since + ASK_AGAIN if self._passed else None

    def feed(self, now: float) -> None:
        """Offer each worker that may have room a ticket: those that idle first, then by id."""
        again, self._again = self._again, False
        if again and self._passed:
            self._ask_again(now)
        if self._hungry:
            self._ask_hungry(now)
        if again and self._passed:
            self._ask_best(now)

    def _ask_hungry(self, now: float) -> None:
        hungry, members, free = self._hungry, self._state.members, self._state.ledger.free
        if self._passed:
            if free and len(hungry) > 1 and self._policy.pauses(self._state):
                self._stay_passed(now)
            else:
                for passed in self._passed.values():
                    passed -= hungry
                if not all(self._passed.values()):
                    self._passed = {hinge: passed for hinge, passed in self._passed.items() if passed}
        if not free:  # when something is, whoever has room is offered it
            hungry.clear()
            return
        asked = [members[worker] for worker in hungry if worker in members]
        hungry.clear()
        if len(asked) > 1:
            asked.sort(key=lambda m: (len(m.tickets), m.worker))
        for member in asked:
            if not member.absent:
                self._ask(member, now)

    def _ask(self, member: Member, now: float) -> None:
        """Give it tickets as long as it has room and the policy has one for it."""
        while self._has_room(member):
            wanted = self._policy.assign(self._state, member, now)
            if wanted is None or (wanted.min_version > self._state.version and member.waits(self._state.version)):
                # What is free now was left to somebody better placed, who may yet stall: ask again, when
                # something arrives or some time has passed. At every event it would cost the square of the members.
                if self._state.ledger.free:
                    hinge = self._policy.hinges(self._state, now)
                    if hinge is not None and (wanted is not None or member.waits(self._state.version)):
                        hinge = hinge, self._state.version
                    self._pass_over(member.worker, hinge, now)
                break
            self._grant(member, wanted.lot, wanted.size, wanted.min_version, now)

    def _stay_passed(self, now: float) -> None:
        """Those passed over who are hungry would be passed over again: they count as asked."""
        passed = set().union(*self._passed.values())
        if passed <= self._hungry:
            self._passed_since = now
        self._hungry -= passed

    def _pass_over(self, worker: int, hinge: object, now: float) -> None:
        if not self._passed:
            self._passed_since = now
        passed = self._passed.get(hinge)
        if passed is None:
            passed = self._passed[hinge] = set()
        passed.add(worker)

    def _ask_again(self, now: float) -> None:
        """Of those passed over, whoever may be answered otherwise by now is hungry; the others stay where they are."""
        self._passed_since = now
        if not self._state.ledger.free:
            self._passed.clear()
            return
        hinge = self._policy.hinges(self._state, now)
        same = (hinge, (hinge, self._state.version)) if hinge is not None else ()
        for old in [old for old in self._passed if old not in same]:
            self._hungry |= self._passed.pop(old)

    def _ask_best(self, now: float) -> None:
        """Ask the best placed of those passed over, and as they take something, the next."""
        asked: set[int] = set()
        while best := {worker for worker in self._policy.best_placed(self._state) if self._was_passed(worker)} - asked:
            asked |= best
            self._hungry |= best
            self._ask_hungry(now)

    def _was_passed(self, worker: int) -> bool:
        return any(worker in passed for passed in self._passed.values())

    def _has_room(self, member: Member) -> bool:
        """One ticket under way and ``lookahead`` in the queue; one more may wait for a version to come.

        None for who does not answer for a ticket that was asked back: it hangs.
        """
        if member.lost and any(ticket.revoked is not None for ticket in member.lost.values()):
            return False
        version, startable = self._state.version, 0
        for ticket in member.tickets.values():
            if ticket.state is QUEUED and ticket.min_version <= version:
                startable += 1
        return startable < member.lookahead

    def _grant(self, member: Member, lot: Lot, size: int, min_version: int, now: float) -> None:
        micro_batch = self._state.settings.micro_batch
        if micro_batch:
            size = lot.next_block(micro_batch)  # the policy says who and when; what is one is fixed
        elif lot.free - size == 1:
            size += 1  # a ticket of one sample would be a batch that BatchNorm cannot normalise
        group = member.groups.get(lot.index) if self._policy.collects and not micro_batch else None
        ticket = self._state.ledger.issue(lot, member.worker, size, min_version, group)
        if self._policy.collects:
            member.groups[lot.index] = ticket.group
        member.tickets[ticket.id] = ticket
        member.used = True
        member.schedule(now, self._state.version)
        self._state.changes += 1
        self._policy.granted(self._state, member, lot)
        self._out.append(
            c.Grant(member.worker, ticket.id, lot.epoch, lot.index, ticket.group, ticket.ranges, min_version)
        )
