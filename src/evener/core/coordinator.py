"""The server's machine: it hears what happened and says what to do.

It turns events into commands. Each part has a room of its own: who holds what (``holdings``), who is offered a ticket
(``feeding``), what comes of a push (``contributions``), what is done about the late (``leases``), what workers report
meanwhile (``reports``), which steps are due (``stepping``), epochs (``course``). The policy answers the questions whose
answers differ between strategies. See
``docs/architecture.md`` for the life of a ticket.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from . import commands as c
from . import events as e
from .contributions import Contributions
from .course import Course
from .feeding import Feeder
from .holdings import Holdings
from .leases import Leases
from .ledger import Ledger, Lot
from .members import Mean, Member
from .policies.base import Policy, check_micro_batch
from .reports import REPORTS, Reports
from .standing import TICKETS, Standing
from .state import RunState, Settings
from .stepping import StepQueue
from .watch import Watch

REMEMBERED = 64
"""Versions whose publication is remembered, to learn how long a link takes."""

PROGRESS = (e.Started, e.Computed, e.Declined, e.Arrived)
"""What only a worker says that does not hang."""

GUESS = 100.0
"""Samples/s of a worker about which nothing is known yet."""


class Coordinator:
    """Decides for the server.

    Args:
        settings: what is fixed for the run.
        policy: the strategy; the coordinator owns it from here on.
        past: where the run stands that goes on here; ``None``: it begins.

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

    def __init__(self, settings: Settings, policy: Policy, past: Standing | None = None) -> None:
        check_micro_batch(settings.micro_batch, policy)
        policy.check(settings.batch)
        self.state = RunState(settings) if past is None else _state(settings, policy, past)
        self.policy = policy
        self.finished = False
        self._out: list[c.Command] = []
        # Who comes back to a run that has begun does not wait for those who may not.
        self._wanted = settings.workers if past is None else 1
        self._first_join: float | None = None
        self._begun = False
        self._steady = False  # nothing has come or ended since it was last seen what can be opened
        self._stepping: Lot | None = None
        options = {name: getattr(policy, name, None) for name in inspect.signature(type(policy)).parameters}
        state, out = self.state, self._out
        self._watch = Watch(settings.batch, policy.collects, options)
        self._course = Course(state, policy)
        self._steps = StepQueue(state)
        self._feeder = Feeder(state, policy, out)
        self._holdings = Holdings(state, self._feeder, out)
        self._leases = Leases(state, policy, self._holdings, self._feeder, out)
        self._contributions = Contributions(state, policy, self._holdings, self._feeder, self._steps, self._watch, out)
        reports = Reports(state, self._holdings, self._leases, self._feeder)
        self._hears: dict[type, Callable[..., None]] = {
            e.Joined: self._joined,
            e.Left: self._left,
            e.EpochDrawn: self._drawn,
            e.Started: reports.started,
            e.Computed: reports.computed,
            e.Arrived: self._arrived,
            e.Declined: self._contributions.declined,
            e.Released: self._holdings.released,
            e.Received: reports.received,
            e.StepDone: self._step_done,
            e.SnapshotTaken: self._snapshot_taken,
            e.StopAsked: self._stop,
            e.Tick: self._tick,
        }
        if past is not None:
            self._course.resume(past)
            policy.recall(past.policy)

    # The face -----------------------------------------------------------------------------------------------

    def handle(self, event: e.Event, now: float) -> list[c.Command]:
        """Take one event at server time ``now`` (s) and return what to do, in order.

        Events about workers or tickets that are no more are normal races and change nothing.
        """
        self._out.clear()
        self.state.changes += 1
        if not self.finished:
            if isinstance(event, PROGRESS):
                member = self.state.members.get(event.worker)
                if member is not None and member.absent:
                    self._leases.back(member, now)
            kind = type(event)
            self._hears[kind](event, now)
            if kind in REPORTS and self._steady and not self._course.owed:
                self._feeder.feed(now)
            elif not self.finished:
                self._advance(now)
        return list(self._out)

    def deadline(self) -> float | None:
        """The time at which to send a ``Tick`` if nothing happens before; ``None``: no need."""
        if self.finished:
            return None
        first, again = self._leases.deadline(), self._feeder.deadline()
        if again is not None and (first is None or again < first):
            first = again
        if not self._begun and self._first_join is not None and self.state.members:
            begin = self._first_join + self.state.settings.patience
            first = begin if first is None else min(first, begin)
        return first

    def standing(self) -> Standing | None:
        """Where the run stands, to go on from later; ``None`` while a step is due or under way, and after the end.

        Samples that no step contains yet count as not computed.
        """
        if self.finished or not self._steps.idle:
            return None
        return self._course.standing(self.policy.memory())

    # Hearing ------------------------------------------------------------------------------------------------

    def _joined(self, joined: e.Joined, now: float) -> None:
        worker, pace = joined.worker, joined.pace
        self._leaves(worker, "joined anew", now)
        probed = pace is not None and pace > 0
        if pace is None or not probed:
            known = [m.pace.value for m in self.state.members.values()]
            pace = min(known, default=GUESS)
        if not self.state.members:
            self._first_join = now
        member = Member(worker, Mean(pace, known=probed), joined.lookahead, joined.version, now)
        self.state.members[worker] = member
        self._feeder.offer(worker)
        self.policy.came(self.state, member, now)

    def _left(self, left: e.Left, now: float) -> None:
        self._leaves(left.worker, left.reason, now)

    def _leaves(self, worker: int, reason: str, now: float) -> None:
        member = self.state.members.pop(worker, None)
        if member is None:
            return
        self._feeder.left(worker)
        self._watch.left(worker)
        for ticket in list(member.tickets.values()):
            self._holdings.give_back(ticket, reason)
        self._feeder.offer_all()  # somebody may have waited for this one
        if not member.absent:
            self.policy.went(self.state, member, now)

    def _arrived(self, push: e.Arrived, now: float) -> None:
        self._contributions.arrived(push, now)
        if self._contributions.hopeless:
            self._give_up()

    def _drawn(self, drawn: e.EpochDrawn, now: float) -> None:
        self._course.drawn(drawn.epoch, drawn.positions)
        self._steady = False

    def _snapshot_taken(self, taken: e.SnapshotTaken, now: float) -> None:
        self._course.taken(taken.epoch)
        self._steady = False

    def _stop(self, asked: e.StopAsked, now: float) -> None:
        self._finish(asked.reason, ok=True)

    def _tick(self, tick: e.Tick, now: float) -> None:
        self._feeder.offer_again()
        self._leases.relieve(now)

    # Advancing ----------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        settings = self.state.settings
        if not self._begun:
            waited = self._first_join is not None and now >= self._first_join + settings.patience
            if not self.state.members or (len(self.state.members) < self._wanted and not waited):
                return
            self._begun = True
        if not self._steady or self._course.owed:
            self._open_lots()
        self._close_lots()
        self._end_epochs()
        self._out.extend(self._steps.say())
        if not self.finished:
            self._feeder.feed(now)

    def _open_lots(self) -> None:
        self._steady = True
        opened = False
        for lot in self._course.open_lots(self._out):
            opened = True
            self._choose_sitters()
            self._out.extend(self.policy.opened(self.state, lot))
            self._feeder.offer_all()
        if opened:  # after all of them: before the second of two that open at once nobody could be granted anything
            for member in self.state.members.values():
                if not member.absent:
                    member.used = False

    def _choose_sitters(self) -> None:
        """With each new lot: who is of use."""
        for member in self.state.members.values():
            if member.absent:
                continue
            if self.state.version and not (member.used or member.tickets):
                member.fade()
            why = self.policy.sits_out(self.state, member)
            if bool(why) != member.sits_out:
                member.sits_out = bool(why)
                member.times_out += member.sits_out
                self.state.changes += 1
                self._out.append(c.SitOut(member.worker, why))

    def _close_lots(self) -> None:
        if not self.policy.collects:
            for whole in [lot for lot in self.state.ledger.lots.values() if lot.complete]:
                self._steady = False
                self.state.ledger.close_lot(whole)
                self.policy.closed(self.state, whole)
            return
        lot = self.state.ledger.lots.get(self.state.version)
        if lot is not None and self._stepping is not lot and lot.complete:
            self._stepping = lot
            self._steps.lot_due(lot, self.state.settings.batch)

    def _step_done(self, done: e.StepDone, now: float) -> None:
        version = done.version
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
            self._steady = False
            self._stepping = None
            self.policy.closed(self.state, lot)
            for member in self.state.members.values():
                member.groups.pop(lot.index, None)
                member.schedule(now, version)
            self._feeder.offer_all()

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

    def _give_up(self) -> None:
        self._finish(f"every contribution was refused: {self._contributions.refusal}", ok=False)

    def _finish(self, reason: str, ok: bool) -> None:
        if not self.finished:
            self.finished = True
            self._out.append(c.Finish(reason, ok))


def _state(settings: Settings, policy: Policy, past: Standing) -> RunState:
    """That of a run that goes on: nobody is here, and nothing is out."""
    ledger = Ledger(past.version if policy.collects else 0, past.resumed * TICKETS)
    return RunState(settings, ledger, version=past.version, issued=past.version)
