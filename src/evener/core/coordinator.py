"""The server's machine: it hears what happened and says what to do.

It keeps the books (ledger, members, versions) and asks its policy the questions whose answers differ between
strategies. See ``docs/architecture.md`` for the life of a ticket.
"""

from __future__ import annotations

import inspect

from . import commands as c
from . import events as e
from .course import Course
from .ledger import Fate, Lot, Ticket, TicketState
from .members import Mean, Member
from .policies.base import Policy, check_micro_batch
from .state import RunState, Settings
from .stepping import StepQueue
from .watch import Contribution, Watch

REFUSED_BATCHES = 8
"""Batches' worth of refused contributions in a row, none applied, after which a run is given up."""

REMEMBERED = 64
"""Versions whose publication is remembered, to learn how long a link takes."""

GUESS = 100.0
"""Samples/s of a worker about which nothing is known yet."""

LEASE = 10.0
"""A ticket is given up when it is late by this many times its expected duration (and by ``patience``)."""

ASK_AGAIN = 0.25
"""Seconds after which a policy that left free positions to somebody better placed is asked again."""


class Coordinator:
    """Decides for the server.

    Args:
        settings: what is fixed for the run.
        policy: the strategy; the coordinator owns it from here on.

    Raises:
        ValueError: ``settings.micro_batch`` with a policy that cannot hand out micro-batches of a fixed size, or an
            option of the policy does not fit the run.

    Example:
        >>> from evener.core.policies import Balanced
        >>> run = Coordinator(Settings(batch=32, epochs=1), Balanced())
        >>> run.handle(e.Joined(worker=0, pace=100.0), now=0.0)
        [DrawEpoch(epoch=0)]
        >>> [type(command).__name__ for command in run.handle(e.EpochDrawn(0, positions=64), now=0.0)]
        ['Grant']
    """

    def __init__(self, settings: Settings, policy: Policy) -> None:
        check_micro_batch(settings.micro_batch, policy)
        policy.check(settings.batch)
        self.state = RunState(settings)
        self.policy = policy
        self.finished = False
        self._out: list[c.Command] = []
        self._first_join: float | None = None
        self._begun = False
        self._course = Course(self.state, policy)
        self._steps = StepQueue(self.state)
        self._stepping: Lot | None = None
        options = {name: getattr(policy, name, None) for name in inspect.signature(type(policy)).parameters}
        self._watch = Watch(settings.batch, policy.collects, options)
        self._refused_in_row = 0
        self._last_refusal = ""
        self._hungry: set[int] = set()
        self._passed: set[int] = set()
        self._heard = 0.0
        self._passed_since = 0.0
        self._leases_checked = 0.0

    # The face -----------------------------------------------------------------------------------------------

    def handle(self, event: e.Event, now: float) -> list[c.Command]:
        """Take one event at server time ``now`` (s) and return what to do, in order.

        Events about workers or tickets that are no more are normal races and change nothing.
        """
        self._out = []
        self._heard = now
        if not self.finished:
            self._hear(event, now)
            if not self.finished:
                self._advance(now)
        return self._out

    def deadline(self) -> float | None:
        """The time at which to send a ``Tick`` if nothing happens before; ``None``: no need."""
        if self.finished:
            return None
        times = [self.policy.deadline(self.state)]
        if not self._begun and self._first_join is not None and self.state.members:
            times.append(self._first_join + self.state.settings.patience)
        if self.state.ledger.tickets:
            times.append(self._leases_checked + 1.0)
        if self._passed:
            times.append(self._passed_since + ASK_AGAIN)
        return min((time for time in times if time is not None), default=None)

    # Hearing ------------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, now: float) -> None:
        if isinstance(event, e.Started | e.Computed | e.Declined | e.Arrived):
            member = self.state.members.get(event.worker)
            if member is not None and member.absent:
                self._back(member)
        match event:
            case e.Joined(worker, version, pace, lookahead):
                self._joined(worker, version, pace, lookahead, now)
            case e.Left(worker, reason):
                self._left(worker, reason)
            case e.EpochDrawn(epoch, positions):
                self._course.drawn(epoch, positions)
            case e.Started(worker, ticket, version):
                self._started(worker, ticket, version, now)
            case e.Computed(worker, ticket, seconds):
                self._computed(worker, ticket, seconds, now)
            case e.Arrived():
                self._arrived(event, now)
            case e.Declined(worker, ticket):
                if found := self._live(worker, ticket):
                    self._settle(found, Fate.DECLINED)
                    self._count_batches(found.lot, found.size)
                    self._hungry |= {worker, *self._passed}
                    self.policy.settled(self.state, self.state.members[worker], found.size, now)
                self._answered(worker, ticket)
            case e.Released(worker, ticket):
                if found := self._live(worker, ticket):
                    self._give_back(found, "revoked")
                self._answered(worker, ticket)
            case e.Received(worker, version):
                if member := self.state.members.get(worker):
                    if member.absent and not any(t.state is TicketState.STARTED for t in member.lost.values()):
                        self._back(member)  # parameters were all that it waited for
                    if version > member.version and (published := self.state.published.get(version)) is not None:
                        member.downlink.add(now - published)
                    member.version = max(member.version, version)
                    if member.awaits is not None and version >= member.awaits[0]:
                        member.turn.add(now - member.awaits[1])
                        member.awaits = None
                    member.schedule(now, self.state.version)
            case e.StepDone(version, _):
                self._step_done(version, now)
            case e.SnapshotTaken(epoch):
                self._course.taken(epoch)
            case e.StopAsked(reason):
                self._finish(reason, ok=True)
            case e.Tick():
                self._hungry |= self._passed
                self._relieve(now)

    def _joined(self, worker: int, version: int, pace: float | None, lookahead: int, now: float) -> None:
        self._left(worker, "joined anew")
        if pace is None or pace <= 0:
            known = [m.pace.value for m in self.state.members.values()]
            pace = min(known, default=GUESS)
        if not self.state.members:
            self._first_join = now
        member = Member(worker, Mean(pace), lookahead, now, version)
        self.state.members[worker] = member
        self._hungry.add(worker)
        self.policy.came(self.state, member, now)

    def _left(self, worker: int, reason: str) -> None:
        member = self.state.members.pop(worker, None)
        if member is None:
            return
        self._hungry.discard(worker)
        self._watch.left(worker)
        for ticket in list(member.tickets.values()):
            self._give_back(ticket, reason)
        self._hungry.update(self.state.members)  # somebody may have waited for this one
        if not member.absent:
            self.policy.went(self.state, member, self._heard)

    def _live(self, worker: int, ticket: int) -> Ticket | None:
        found = self.state.ledger.tickets.get(ticket)
        return found if found is not None and found.worker == worker else None

    def _known(self, worker: int, ticket: int) -> Ticket | None:
        """The ticket if it is the worker's, or was and the worker may not know yet that it is not."""
        member = self.state.members.get(worker)
        return None if member is None else member.tickets.get(ticket) or member.lost.get(ticket)

    def _answered(self, worker: int, ticket: int) -> None:
        """The worker is through with ``ticket``."""
        if (member := self.state.members.get(worker)) and member.lost.pop(ticket, None):
            self._hungry.add(worker)

    def _started(self, worker: int, ticket: int, version: int, now: float) -> None:
        found = self._known(worker, ticket)
        if found is None or found.state is not TicketState.QUEUED:
            return
        member = self.state.members[worker]
        found.state = TicketState.STARTED
        found.version, found.started, found.revoked = version, now, None
        member.schedule(now, self.state.version)
        self._hungry.add(worker)

    def _computed(self, worker: int, ticket: int, seconds: float, now: float) -> None:
        member = self.state.members.get(worker)
        found = self._known(worker, ticket)
        if member is None or found is None or found.state is TicketState.COMPUTED:
            return
        found.state = TicketState.COMPUTED
        if seconds > 0:
            member.learn(found.size, seconds)
        found.computed = now
        member.schedule(now, self.state.version)
        self._hungry.add(worker)

    def _arrived(self, push: e.Arrived, now: float) -> None:
        member = self.state.members.get(push.worker)
        if member is None or push.push <= member.pushed:
            return
        member.pushed = push.push
        self._hungry |= {push.worker, *self._passed}
        # What a link or a device can do is learnt from contributions that come too late, too: they would always be.
        known = (self._known(push.worker, ticket) for ticket in push.tickets)
        computed = [ticket.computed for ticket in known if ticket is not None and ticket.computed is not None]
        if computed:
            member.uplink.add(now - max(computed))
        self._judge(push, member, max(computed, default=None), now)
        for ticket in push.tickets:
            self._answered(push.worker, ticket)

    def _judge(self, push: e.Arrived, member: Member, computed: float | None, now: float) -> None:
        tickets = [found for ticket in push.tickets if (found := self._live(push.worker, ticket))]
        samples = sum(ticket.size for ticket in tickets)
        lots = {ticket.lot.index for ticket in tickets}
        if len(tickets) != len(push.tickets) or len(push.versions) != len(push.tickets) or len(lots) != 1:
            self._discard(push, tickets, "some of its tickets are no longer this worker's")
            return
        lot = tickets[0].lot
        target = lot.index if self.policy.collects else self.state.issued
        staleness = target - min(push.versions)
        if computed is not None and member.awaits is None:
            member.awaits = (target + 1, computed)
        if push.verdict != "ok":
            self._refuse(push, tickets, samples)
        elif self.policy.too_stale(staleness):
            self._discard(push, tickets, f"staleness {staleness} is beyond the bound")
            return
        else:
            self._accept(push, tickets, lot, samples, staleness, target)
        self.policy.settled(self.state, member, samples, now)

    def _accept(
        self, push: e.Arrived, tickets: list[Ticket], lot: Lot, samples: int, staleness: int, target: int
    ) -> None:
        self._refused_in_row = 0
        stale = 0
        for ticket, version in zip(tickets, push.versions, strict=True):
            if version < target:
                stale += ticket.size
            self._settle(ticket, Fate.APPLIED)
        lot.stale += stale
        self._watch.accepted(
            target, Contribution(push.worker, min(push.versions), samples, stale, push.norm, push.loss)
        )
        if not self.policy.collects:
            rate_scale = samples / self.state.settings.batch * self.policy.rate_scale(staleness)
            add = c.Accumulate(push.worker, push.push, target, samples, 1.0, staleness)
            self._steps.push_due(lot, add, rate_scale, lot.batches_ended(samples, self.state.settings.batch))
            return
        lot.weight += push.weight  # summed again, in order, where contributions are held
        add = c.Accumulate(push.worker, push.push, target, samples, push.weight / self.state.settings.batch, staleness)
        if self.state.settings.micro_batch:
            self._steps.hold(lot, tickets[0].ranges[0], push.weight, add)
        elif self.policy.in_rank_order:
            self._steps.hold(lot, (push.worker, push.push), push.weight, add)
        else:
            self._out.append(add)

    # Contributions that do not count ------------------------------------------------------------------------

    def _refuse(self, push: e.Arrived, tickets: list[Ticket], samples: int) -> None:
        self._out.append(c.Discard(push.worker, push.push, push.verdict, samples, refused=True))
        lot = tickets[0].lot
        for ticket in tickets:
            self._settle(ticket, Fate.REFUSED)
        self._count_batches(lot, samples)
        self._out += self._watch.refused(push.worker, samples, push.verdict)
        self._refused_in_row += samples
        self._last_refusal = push.verdict
        if self._refused_in_row >= REFUSED_BATCHES * self.state.settings.batch:
            self._give_up()

    def _discard(self, push: e.Arrived, tickets: list[Ticket], why: str) -> None:
        samples = sum(ticket.size for ticket in tickets)
        self._out.append(c.Discard(push.worker, push.push, why, samples, refused=False))
        for ticket in tickets:
            self._give_back(ticket, why)

    def _give_up(self) -> None:
        self._finish(f"every contribution was refused: {self._last_refusal}", ok=False)

    def _give_back(self, ticket: Ticket, why: str) -> None:
        self.state.ledger.give_back(ticket)
        self._forget(ticket)
        if member := self.state.members.get(ticket.worker):
            member.lost[ticket.id] = ticket
        self._out.append(c.Returned(ticket.id, why))
        self._hungry.update(self.state.members)

    def _settle(self, ticket: Ticket, fate: Fate) -> None:
        self.state.ledger.settle(ticket, fate)
        self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        if member := self.state.members.get(ticket.worker):
            member.tickets.pop(ticket.id, None)

    def _relieve(self, now: float) -> None:
        """Do something about tickets that hold the others up."""
        for late in self.policy.late(self.state, now):
            ticket = late.ticket
            if late.to is not None:
                self.state.ledger.move(ticket, late.to)
                self._out.append(c.Moved(ticket.id, late.to.index))
                self._hungry.update(self.state.members)
            elif late.expire:
                self._give_back(ticket, "overdue")
            else:
                ticket.revoked = now
                self._out.append(c.Revoke(ticket.worker, ticket.id))
            # What moved or expired is pushed as it is: tickets granted from now on are summed apart from it.
            if member := self.state.members.get(ticket.worker):
                member.groups = {lot: group for lot, group in member.groups.items() if group != ticket.group}
        if now < self._leases_checked + 1.0:
            return
        self._leases_checked = now
        patience = self.state.settings.patience
        for member in list(self.state.members.values()):
            for ticket in (*member.tickets.values(), *member.lost.values()):
                if ticket.due is None or member.absent:
                    continue
                expected = ticket.size / member.pace.value + member.uplink.value
                if ticket.started is None and ticket.min_version > member.version:
                    expected += member.turn.value
                if now - ticket.due > max(patience, LEASE * expected):
                    self._give_up_on(member)
                    break

    def _give_up_on(self, member: Member) -> None:
        """It answers but does not finish: free what it has, and wait until it shows progress."""
        member.absent = True
        self._out.append(c.SitOut(member.worker, "it does not finish what it has begun"))
        for ticket in list(member.tickets.values()):
            self._give_back(ticket, f"worker {member.worker} does not finish it")
        self._hungry.update(self.state.members)
        self.policy.went(self.state, member, self._heard)

    def _back(self, member: Member) -> None:
        """It shows progress again: how late it was is forgiven."""
        member.absent = False
        if not member.sits_out:
            self._out.append(c.SitOut(member.worker, ""))
        for ticket in member.lost.values():
            ticket.due = None
        self._hungry.add(member.worker)
        self.policy.came(self.state, member, self._heard)

    # Advancing ----------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        settings = self.state.settings
        if not self._begun:
            waited = self._first_join is not None and now >= self._first_join + settings.patience
            if not self.state.members or (len(self.state.members) < settings.workers and not waited):
                return
            self._begun = True
        for lot in self._course.open_lots(self._out):
            self._choose_sitters()
            self._out.extend(self.policy.opened(self.state, lot))
            self._hungry.update(self.state.members)
        self._close_lots()
        self._end_epochs()
        self._out.extend(self._steps.say())
        if not self.finished:
            self._feed(now)

    def _choose_sitters(self) -> None:
        """With each new lot: who is of use."""
        for member in self.state.members.values():
            if member.absent:
                continue
            why = self.policy.sits_out(self.state, member)
            if bool(why) != member.sits_out:
                member.sits_out = bool(why)
                self._out.append(c.SitOut(member.worker, why))

    def _close_lots(self) -> None:
        if not self.policy.collects:
            for whole in self.state.lots():
                if whole.complete:
                    self.state.ledger.close_lot(whole)
                    self.policy.closed(self.state, whole)
            return
        lot = self.state.ledger.lots.get(self.state.version)
        if lot is not None and self._stepping is not lot and lot.complete:
            self._stepping = lot
            self._steps.lot_due(lot, self.state.settings.batch)

    def _count_batches(self, lot: Lot, samples: int) -> None:
        """``step_scheduler`` is due for samples that end without being applied, too."""
        if not self.policy.collects and (due := lot.batches_ended(samples, self.state.settings.batch)):
            self._steps.nothing_due(lot, due)

    def _step_done(self, version: int, now: float) -> None:
        lot = self._steps.done(version)
        if lot is None:
            return
        self.state.version = version
        self.state.published[version] = now
        self.state.published.pop(version - REMEMBERED, None)
        self._out.append(c.Publish(version))
        self._out += self._watch.stepped(version - 1)
        if self.policy.collects:
            self.state.ledger.close_lot(lot)
            self._stepping = None
            self.policy.closed(self.state, lot)
            for member in self.state.members.values():
                member.groups.pop(lot.index, None)
                member.schedule(now, version)
            self._hungry.update(self.state.members)

    def _end_epochs(self) -> None:
        # Steps of the next epoch may be due already: they wait for the snapshot, it does not wait for them.
        while not self.finished and (epoch := self._course.settled()) and not self._steps.needs(epoch.index):
            ended = self._course.end(epoch)
            self._out.append(ended)
            if not ended.applied and epoch.positions > ended.dropped:
                if ended.refused:
                    self._give_up()
                else:
                    why = "no contribution in a whole epoch: the script never called optimizer.step()"
                    self._finish(why, ok=False)
            elif self._course.over:
                self._finish("complete", ok=True)

    def _finish(self, reason: str, ok: bool) -> None:
        if not self.finished:
            self.finished = True
            self._out.append(c.Finish(reason, ok))

    # Feeding ------------------------------------------------------------------------------------------------

    def _feed(self, now: float) -> None:
        """Offer each worker that may have room a ticket: those that idle first, then by id."""
        hungry = [m for w in self._hungry if (m := self.state.members.get(w)) and not m.absent]
        self._passed -= self._hungry
        if not self._passed:
            self._passed_since = now
        self._hungry.clear()
        for member in sorted(hungry, key=lambda m: (len(m.tickets), m.worker)):
            while self._has_room(member):
                wanted = self.policy.assign(self.state, member, now)
                if wanted is None or (wanted.min_version > self.state.version and self._blocked(member)):
                    # What is free now was left to somebody better placed, who may yet stall: ask again, when
                    # something arrives or some time has passed. At every event it would cost the square of the members.
                    if any(lot.free for lot in self.state.ledger.lots.values()):
                        self._passed.add(member.worker)
                    break
                self._grant(member, wanted.lot, wanted.size, wanted.min_version, now)

    def _has_room(self, member: Member) -> bool:
        """One ticket under way and ``lookahead`` in the queue; one more may wait for a version to come.

        None for who does not answer for a ticket that was asked back: it hangs.
        """
        if any(ticket.revoked is not None for ticket in member.lost.values()):
            return False
        startable = [t for t in member.queued() if t.min_version <= self.state.version]
        return len(startable) < member.lookahead

    def _blocked(self, member: Member) -> bool:
        return any(t.min_version > self.state.version for t in member.queued())

    def _grant(self, member: Member, lot: Lot, size: int, min_version: int, now: float) -> None:
        micro_batch = self.state.settings.micro_batch
        if micro_batch:
            size = lot.next_block(micro_batch)  # the policy says who and when; what is one is fixed
        elif lot.free - size == 1:
            size += 1  # a ticket of one sample would be a batch that BatchNorm cannot normalise
        group = member.groups.get(lot.index) if self.policy.collects and not micro_batch else None
        ticket = self.state.ledger.issue(lot, member.worker, size, min_version, group, now)
        if self.policy.collects:
            member.groups[lot.index] = ticket.group
        member.tickets[ticket.id] = ticket
        member.schedule(now, self.state.version)
        self.policy.granted(self.state, member, lot)
        self._out.append(
            c.Grant(member.worker, ticket.id, lot.epoch, lot.index, ticket.group, ticket.ranges, min_version)
        )
