"""What must hold after every event of a run, whatever the policy and whatever happens to the workers."""

from __future__ import annotations

import math

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.course import SNAPSHOTS
from ..core.ledger import Fate
from ..core.ranges import size
from ..core.state import Settings
from ._books import FREE, OUT, Accepted, EpochBook, Held, compare, promise
from .promises import Promises

APPLIED, DECLINED, REFUSED, DROPPED = (fate.value for fate in Fate)


class Invariants:
    """An observer that keeps its own books from what is heard and said, and compares them with the coordinator's.

    Give it to a :class:`~evener.simulation.drive.Simulation` as ``observer``, or call it after each
    ``Coordinator.handle``. It is for tests: it looks at every position and costs more than the run.

    Args:
        settings: of the run.
        bound: most staleness of an applied contribution, in steps; ``None``: a policy that collects no batches.
        in_rank_order: whether the contributions of a step must come by worker id.
        promises: what the policy promises beyond the general contract.

    Raises:
        BrokenPromise: at the first event after which something does not hold.

    Example:
        >>> from evener.core.policies import Balanced
        >>> from evener.simulation.cluster import Cluster, Host
        >>> from evener.simulation.drive import Simulation
        >>> settings = Settings(batch=64, epochs=1)
        >>> watch = Invariants(settings, bound=1)
        >>> _ = Simulation(Cluster((Host(800),)), settings, Balanced(), positions=100, observer=watch).run()
        >>> watch.finish.reason, watch.version
        ('complete', 2)
    """

    def __init__(
        self,
        settings: Settings,
        bound: int | None = None,
        in_rank_order: bool = False,
        promises: Promises | None = None,
    ) -> None:
        self.settings = settings
        self.promises = promises or Promises()
        self.bound = bound
        self.in_rank_order = in_rank_order
        self.finish: c.Finish | None = None
        self.version = 0
        self.batches = 0
        self.members: set[int] = set()
        self._absent: set[int] = set()
        self.books: dict[int, EpochBook] = {}
        self._held: dict[int, Held] = {}
        self._highest = -1
        self._heard: set[tuple[int, int]] = set()
        self._accepted: dict[tuple[int, int], Accepted] = {}
        self._adds: list[c.Accumulate] = []
        self._step: c.Step | None = None
        self._last_full_step = -1
        self._epoch_of: dict[int, int] = {}
        self._snapshots: set[int] = set()

    def __call__(self, coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        """Take one event and what was said to it."""
        if self.finish is not None:
            promise(not commands, "something is said after the end")
            return
        discarded = self._hear(event, commands)
        for command in commands:
            self._say(command)
        for held in discarded:
            promise(self._held.get(held.ticket) is not held, f"ticket {held.ticket}: discarded, yet still out")
        compare(coordinator, self.books, self.bound is not None)

    # Events -------------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, commands: list[c.Command]) -> tuple[Held, ...]:
        """Note the event; returns the tickets that must be given back in answer."""
        match event:
            case e.Joined(worker):
                self._gone(worker)
                self.members.add(worker)
                self.promises.came(worker)
            case e.Left(worker):
                self._gone(worker)
            case e.EpochDrawn(epoch, positions):
                self.books[epoch] = EpochBook([FREE] * positions)
            case e.Declined(worker, ticket):
                held = self._held.get(ticket)
                if held is not None and held.worker == worker:
                    self._end(held, DECLINED)
            case e.StepDone(version):
                if self._step is not None and self._step.version == version:
                    self._step = None
            case e.SnapshotTaken(epoch):
                self._snapshots.discard(epoch)
            case e.Arrived():
                return self._arrived(event, commands)
            case _:
                pass
        return ()

    def _arrived(self, push: e.Arrived, commands: list[c.Command]) -> tuple[Held, ...]:
        """A push is wholly accepted or wholly discarded, at once; one that was heard before changes nothing."""
        key = (push.worker, push.push)
        verdicts = [x for x in commands if isinstance(x, c.Discard) and (x.worker, x.push) == key]
        if push.worker not in self.members or key in self._heard:
            promise(not verdicts, f"push {key} is of a stranger or known already, and yet it is judged")
            return ()
        self._heard.add(key)
        promise(len(verdicts) <= 1, f"push {key} is discarded twice")
        found = (self._held.get(ticket) for ticket in push.tickets)
        mine = tuple(held for held in found if held is not None and held.worker == push.worker)
        if verdicts and not verdicts[0].refused:
            return mine
        whole = len(mine) == len(push.tickets) and len({held.step for held in mine}) == 1
        promise(whole, f"push {key} counts although part of it is not this worker's, or of another step")
        promise(bool(verdicts) == (push.verdict != "ok"), f"push {key} is {push.verdict}: {verdicts}")
        if not verdicts:
            self.promises.accepted(push)
        for held in mine:
            self._end(held, REFUSED if verdicts else APPLIED)
        if not verdicts:
            self._accepted[key] = Accepted(mine, push.versions, push.weight)
        return ()

    def _end(self, held: Held, place: str) -> None:
        del self._held[held.ticket]
        self.books[held.epoch].shift(held.ranges, OUT, place)
        (self.promises.returned if place == FREE else self.promises.settled)(held.ticket)

    def _gone(self, worker: int) -> None:
        """A member left. Its going is told once, if it was given up on before."""
        if worker in self.members and worker not in self._absent:
            self.promises.went(worker)
        self.members.discard(worker)
        self._absent.discard(worker)

    def _sits(self, worker: int, out: bool) -> None:
        """It was given up on, or counts again."""
        if worker not in self.members or out == (worker in self._absent):
            return
        if out:
            self._absent.add(worker)
            self.promises.went(worker)
        else:
            self._absent.discard(worker)
            self.promises.came(worker)

    # Commands -----------------------------------------------------------------------------------------------

    def _say(self, command: c.Command) -> None:
        match command:
            case c.Grant():
                self._granted(command)
            case c.Revoke(worker, ticket):
                promise(ticket in self._held, f"ticket {ticket} is revoked but not out")
                promise(self._held[ticket].worker == worker, "a ticket is revoked from another worker")
            case c.Returned(ticket, _):
                promise(ticket in self._held, f"ticket {ticket} is returned but not out")
                self._end(self._held[ticket], FREE)
            case c.Moved(ticket, step):
                held = self._held[ticket]
                promise(held.step < step and self._epoch_of.get(step, held.epoch) == held.epoch, "moved astray")
                held.step = step
                self._epoch_of[step] = held.epoch
            case c.Dropped(epoch, ranges):
                promise(self.settings.drop_last, "positions are dropped although drop_last is off")
                promise(size(ranges) < self.settings.batch, "a whole batch is dropped")
                self.books[epoch].shift(ranges, FREE, DROPPED)
            case c.SitOut(worker, why):
                self._sits(worker, bool(why))
            case c.Accumulate():
                self._added(command)
            case c.Step():
                self._stepped(command)
            case c.Publish(version):
                promise(version == self.version + 1, f"version {version} follows {self.version}")
                promise(self._step is None, "a version is published before its step is done")
                self.version = version
            case c.EndEpoch():
                self._ended(command)
            case c.Hold():
                promise(self._snapshots, "a hold although no snapshot waits")
            case c.Finish():
                self._finished(command)
            case _:
                pass

    def _granted(self, grant: c.Grant) -> None:
        samples = size(grant.ranges)
        promise(grant.worker in self.members, f"ticket {grant.ticket} for worker {grant.worker}, who is not here")
        promise(grant.ticket > self._highest, "ticket numbers rise")
        self._highest = grant.ticket
        book = self.books[grant.epoch]
        single = self.settings.batch == 1 or len(book.places) % self.settings.batch == 1
        promise(samples >= 2 or (samples == 1 and single), f"ticket {grant.ticket} has {samples} samples")
        if self.bound is not None:
            promise(grant.step >= self.version, "a ticket of a step that is over")
            promise(0 <= grant.step - grant.min_version <= self.bound, f"{grant} may be too stale")
            promise(self._epoch_of.setdefault(grant.step, grant.epoch) == grant.epoch, "a step of two epochs")
        book.shift(grant.ranges, FREE, OUT)
        self.promises.granted(grant)
        self._held[grant.ticket] = Held(grant.ticket, grant.worker, grant.epoch, grant.step, grant.ranges)

    def _added(self, add: c.Accumulate) -> None:
        promise((add.worker, add.push) in self._accepted, f"{add} was not accepted, or is added twice")
        push = self._accepted.pop((add.worker, add.push))
        promise(add.samples == push.samples, f"{add} of {push.samples} samples")
        promise(add.staleness == add.step - min(push.versions), f"{add} was computed on {push.versions}")
        promise(min(add.step - version for version in push.versions) >= 0, "computed on a version of the future")
        epoch = push.tickets[0].epoch
        if self.bound is not None:
            promise(add.staleness <= self.bound, f"{add} is beyond the bound {self.bound}")
            promise({held.step for held in push.tickets} == {add.step}, f"{add} holds tickets of another step")
            promise(math.isclose(add.factor, push.weight / self.settings.batch), f"{add}: weight {push.weight}")
        else:
            self._epoch_of[add.step] = epoch
        self._adds.append(add)
        self.promises.added(add)

    def _stepped(self, step: c.Step) -> None:
        promise(self._step is None, "two steps at once")
        promise((step.step, step.version) == (self.version, self.version + 1), f"{step} follows {self.version}")
        adds = [add for add in self._adds if add.step == step.step]
        self._adds = [add for add in self._adds if add.step != step.step]
        promise(sum(add.samples for add in adds) == step.samples, f"{step} holds {adds}")
        if self.bound is not None:
            out = [held.ticket for held in self._held.values() if held.step == step.step]
            promise(not out, f"step {step.step} closes over tickets {out}")
            kept = [key for key, push in self._accepted.items() if push.tickets[0].step == step.step]
            promise(not kept, f"step {step.step} leaves out accepted pushes {kept}")
            if adds:
                mean = sum(add.factor for add in adds) * step.rescale
                promise(math.isclose(mean, 1.0), f"{step}: the weights sum to {mean}")
            promise(step.batches == 1, "one batch a step")
        if self.in_rank_order:
            order = [(add.worker, add.push) for add in adds]
            promise(order == sorted(order), f"step {step.step} is summed in the order {order}")
        if step.samples:
            self._last_full_step = step.step
            self.books[self._epoch_of[step.step]].last_step = step.step
        self._step = step
        self.batches += step.batches

    def _ended(self, end: c.EndEpoch) -> None:
        book = self.books[end.epoch]
        promise(all(self.books[epoch].ended for epoch in range(end.epoch)), "epochs end in order")
        promise(not book.ended, f"epoch {end.epoch} ends twice")
        promise(end.version == self.version, f"{end} at version {self.version}")
        counts = [book.count(place) for place in (APPLIED, DECLINED, REFUSED, DROPPED)]
        promise(counts == [end.applied, end.declined, end.refused, end.dropped], f"{end}, but {book.counts}")
        promise(sum(counts) == len(book.places), f"{end}, but {book.counts}")
        left = [key for key, push in self._accepted.items() if push.tickets[0].epoch == end.epoch]
        promise(not left and self._step is None, f"epoch {end.epoch} ends before {left}, {self._step}")
        past = [self.books[epoch] for epoch in range(end.epoch + 1)]
        if self.bound is not None or not any(b.count(DECLINED) or b.count(REFUSED) for b in past):
            # Else its last positions may have ended after steps of the next epoch.
            last = max(b.last_step for b in past)
            late = last >= 0 and self._last_full_step != last
            promise(not late, f"{end} is late: step {self._last_full_step} follows {last}")
        book.ended = True
        self._snapshots.add(end.epoch)
        promise(len(self._snapshots) <= SNAPSHOTS, f"{len(self._snapshots)} snapshots wait")

    def _finished(self, finish: c.Finish) -> None:
        promise(self.finish is None, "a second end")
        self.finish = finish
        if finish.reason != "complete":
            return
        promise(finish.ok and len(self.books) == self.settings.epochs, "complete, but epochs are missing")
        promise(all(book.ended for book in self.books.values()), "complete, but epochs are open")
        batch = self.settings.batch
        due = sum(
            len(book.places) // batch if self.settings.drop_last else math.ceil(len(book.places) / batch)
            for book in self.books.values()
        )
        promise(self.batches == due, f"step_scheduler was due {self.batches} times, not {due}")
