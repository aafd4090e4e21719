"""What comes of a contribution: applied, refused, or discarded and computed again."""

from __future__ import annotations

from . import commands as c
from . import events as e
from .feeding import Feeder
from .holdings import Holdings
from .ledger import Fate, Lot, Ticket
from .members import Member
from .policies.base import Policy
from .state import RunState
from .stepping import StepQueue
from .watch import Contribution, Watch

REFUSED_BATCHES = 8
"""Batches' worth of refused contributions in a row, none applied, after which a run is given up."""


class Contributions:
    """Judges pushes, hands those that count to the steps, and tells the policy and the watch.

    Args:
        state: of the run.
        policy: says what is too stale; hears what is settled.
        holdings, feeder, steps, watch: of the run.
        out: what is done with a push is said here.

    Attributes:
        refusal: why the last contribution that was refused was.
    """

    def __init__(
        self,
        state: RunState,
        policy: Policy,
        holdings: Holdings,
        feeder: Feeder,
        steps: StepQueue,
        watch: Watch,
        out: list[c.Command],
    ) -> None:
        self._state = state
        self._policy = policy
        self._holdings = holdings
        self._feeder = feeder
        self._steps = steps
        self._watch = watch
        self._out = out
        self._refused_in_row = 0
        self.refusal = ""

    @property
    def hopeless(self) -> bool:
        """All are refused, and have been for long."""
        return self._refused_in_row >= REFUSED_BATCHES * self._state.settings.batch

    def declined(self, end: e.Declined, now: float) -> None:
        """The script did not step for a ticket."""
        worker, ticket = end.worker, end.ticket
        if found := self._holdings.live(worker, ticket):
            self._holdings.settle(found, Fate.DECLINED)
            self._count_batches(found.lot, found.size)
            self._feeder.offer(worker)
            self._feeder.offer_again()
            self._policy.settled(self._state, self._state.members[worker], found.size, now)
        self._holdings.answered(worker, ticket)

    def arrived(self, push: e.Arrived, now: float) -> None:
        """A push is here."""
        member = self._state.members.get(push.worker)
        if member is None or push.push <= member.pushed:
            return
        member.pushed = push.push
        self._feeder.offer(push.worker)
        self._feeder.offer_again()
        # What a link or a device can do is learnt from contributions that come too late, too: they would always be.
        tickets: list[Ticket] = []
        computed: float | None = None
        for number in push.tickets:
            if (found := member.tickets.get(number)) is not None:
                tickets.append(found)
            else:
                found = member.lost.get(number)
            if found is not None and found.computed is not None and (computed is None or found.computed > computed):
                computed = found.computed
        if computed is not None:
            member.uplink.add(now - computed)
        self._judge(push, member, tickets, computed, now)
        if member.lost:
            for ticket in push.tickets:
                self._holdings.answered(push.worker, ticket)

    def _judge(
        self, push: e.Arrived, member: Member, tickets: list[Ticket], computed: float | None, now: float
    ) -> None:
        samples = sum([ticket.size for ticket in tickets])
        lots = {ticket.lot.index for ticket in tickets}
        if len(tickets) != len(push.tickets) or len(push.versions) != len(push.tickets) or len(lots) != 1:
            self._discard(push, tickets, "some of its tickets are no longer this worker's")
            return
        lot = tickets[0].lot
        target = lot.index if self._policy.collects else self._state.issued
        staleness = target - min(push.versions)
        if computed is not None and member.awaits is None:
            member.awaits = (target + 1, computed)
        if push.verdict != "ok":
            self._refuse(push, tickets, samples)
        elif self._policy.too_stale(staleness):
            self._discard(push, tickets, f"staleness {staleness} is beyond the bound")
            return
        else:
            self._accept(push, tickets, lot, samples, staleness, target)
        self._policy.settled(self._state, member, samples, now)

    def _accept(
        self, push: e.Arrived, tickets: list[Ticket], lot: Lot, samples: int, staleness: int, target: int
    ) -> None:
        self._refused_in_row = 0
        stale = 0
        for ticket, version in zip(tickets, push.versions, strict=True):
            if version < target:
                stale += ticket.size
            self._holdings.settle(ticket, Fate.APPLIED)
        lot.stale += stale
        self._watch.accepted(
            target, Contribution(push.worker, min(push.versions), samples, stale, push.norm, push.loss)
        )
        batch = self._state.settings.batch
        if not self._policy.collects:
            rate_scale = samples / batch * self._policy.rate_scale(staleness)
            add = c.Accumulate(push.worker, push.push, target, samples, 1.0, staleness)
            self._steps.push_due(lot, add, rate_scale, lot.batches_ended(samples, batch))
            return
        lot.weight += push.weight  # summed again, in order, where contributions are held
        add = c.Accumulate(push.worker, push.push, target, samples, push.weight / batch, staleness)
        if self._state.settings.micro_batch:
            self._steps.hold(lot, tickets[0].ranges[0], push.weight, add)
        elif self._policy.in_rank_order:
            self._steps.hold(lot, (push.worker, push.push), push.weight, add)
        else:
            self._out.append(add)

    def _refuse(self, push: e.Arrived, tickets: list[Ticket], samples: int) -> None:
        self._out.append(c.Discard(push.worker, push.push, push.verdict, samples, refused=True))
        lot = tickets[0].lot
        for ticket in tickets:
            self._holdings.settle(ticket, Fate.REFUSED)
        self._count_batches(lot, samples)
        self._out += self._watch.refused(push.worker, samples, push.verdict)
        self._refused_in_row += samples
        self.refusal = push.verdict

    def _discard(self, push: e.Arrived, tickets: list[Ticket], why: str) -> None:
        samples = sum(ticket.size for ticket in tickets)
        self._out.append(c.Discard(push.worker, push.push, why, samples, refused=False))
        for ticket in tickets:
            self._holdings.give_back(ticket, why)

    def _count_batches(self, lot: Lot, samples: int) -> None:
        """``step_scheduler`` is due for samples that end without being applied, too."""
        if not self._policy.collects and (due := lot.batches_ended(samples, self._state.settings.batch)):
            self._steps.nothing_due(lot, due)
