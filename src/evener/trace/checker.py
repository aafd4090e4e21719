"""The checker: does the record prove that every position counted exactly once?

It shares nothing with the ledger that it checks. It follows grants, returns and ends through books of its own,
of positions, steps and tickets, and reports in words whatever does not fit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core import commands as c
from ..core import events as e
from ..core.ranges import Range
from .accounting import APPLIED, DECLINED, DROPPED, FREE, HELD, REFUSED, WORDS, Accounting
from .marks import Mark, mark_of
from .policies import rebuild
from .positions import Positions
from .reader import naming
from .schema import BrokenLine, CheckpointNote, EventLine, Header, HeaderLine, Line, NoteLine, Resumed
from .steps import Steps
from .tickets import Tickets
from .whole import whole

PROBLEMS = 50
"""Problems reported in words; further ones are only counted."""


def check(record: str | os.PathLike[str] | Iterable[Line]) -> Accounting:
    """Check a whole record: a run folder, the file, or its lines.

    Of a run that was resumed, the parts before are checked first, each up to the checkpoint that the next begins with.
    """
    checker = Checker()
    with naming(record):
        for line in whole(record) if isinstance(record, str | os.PathLike) else record:
            checker.feed(line)
    return checker.result()


@dataclass(slots=True)
class _Push:
    tickets: tuple[int, ...]
    versions: tuple[int, ...]
    weight: float


class Checker:
    """The incremental form of :func:`check`: feed it lines, ask for the result.

    A second header begins the next part of the record.
    """

    def __init__(self) -> None:
        self._wanted: set[int] = set()
        self._marks: dict[int, Mark] = {}
        self._kept: tuple[int, ...] = ()
        self._towards: dict[int, list[tuple[int, tuple[Range, ...]]]] = {}
        self._header: Header | None = None
        self._collects = True
        self._bound: int | None = None
        self._problems: list[str] = []
        self._count = 0
        self._positions = Positions(self._problem)
        self._steps = Steps(self._positions, self._problem)
        self._tickets = Tickets(self._problem)
        self._pushes: dict[tuple[int, int], list[_Push]] = {}
        self._returned = self._late = self._discarded = 0
        self._finish: c.Finish | None = None
        self._truncated = False
        self._t = 0.0

    def feed(self, line: Line) -> None:
        """Take the next line."""
        match line:
            case EventLine(t, event, commands) if self._finish is None:
                if t < self._t:
                    self._problem(f"time runs backwards, from {self._t:.6f} s")
                self._t = t
                must_go = self._hear(event, commands)
                for command in commands:
                    self._obey(command)
                for ident in must_go:
                    if ident in self._tickets:
                        self._problem(f"ticket {ident} should have gone back to the pool at {event}")
            case HeaderLine(_, header, kept):
                self._header = header
                if header.resumed is not None:
                    self._resume(header.resumed)
                self._kept = kept
                for number in kept:
                    self._wanted.add(number)
                    self._marks.pop(number, None)
                policy = rebuild(header.policy)
                self._collects = policy.collects
                if policy.collects:
                    self._steps.collect(header.settings)
                self._bound = getattr(policy, "most", getattr(policy, "bound", 0)) if policy.collects else None
            case NoteLine(_, CheckpointNote(number=number, version=version)) if number in self._kept:
                self._marks[number] = self._stand(version)
            case BrokenLine(number, why, truncated):
                self._truncated |= truncated
                if not truncated:
                    self._problem(f"line {number} cannot be read: {why}")
            case _:
                pass

    def result(self) -> Accounting:
        """What can be said so far."""
        complete = self._finish is not None and self._finish.reason == "complete"
        wanted = self._header.settings.epochs if self._header else 0
        if complete and (ended := len(self._positions.ended)) != wanted:
            self._problem(f"the run says it is complete after {ended} of {wanted} epochs")
        return Accounting(
            epochs=self._positions.accounts(),
            steps=self._steps.issued,
            unstepped=self._steps.unstepped,
            returned=self._returned,
            late=self._late,
            discarded=self._discarded,
            complete=complete,
            truncated=self._truncated,
            problems=tuple(self._problems),
            more=self._count - len(self._problems),
        )

    # What happened ------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, commands: Sequence[c.Command]) -> list[int]:
        """Take the event in; returns the tickets that the commands beside it must give back."""
        match event:
            case e.Joined(worker):
                return self._tickets.join(worker)
            case e.Left(worker):
                return self._tickets.leave(worker)
            case e.EpochDrawn(epoch, positions):
                self._positions.draw(epoch, positions)
            case e.Released(worker, ticket):
                return [ticket] if self._tickets.live(worker, ticket) else []
            case e.Declined(worker, ticket):
                if self._tickets.live(worker, ticket):
                    self._settle(ticket, DECLINED)
            case e.Arrived():
                return self._arrived(event, commands)
            case e.StepDone(version):
                self._steps.finish(version)
                self._towards.pop(version - 1, None)
            case _:
                pass
        return []

    def _arrived(self, push: e.Arrived, commands: Sequence[c.Command]) -> list[int]:
        name = f"push {push.push} of worker {push.worker}"
        live = [ticket for ticket in dict.fromkeys(push.tickets) if self._tickets.live(push.worker, ticket)]
        samples = sum(self._tickets[ticket].size for ticket in live)
        discard = next((d for d in commands if isinstance(d, c.Discard) and d.push == push.push), None)
        if discard is not None:
            if discard.samples != samples:
                self._problem(f"{name} was discarded with {discard.samples} samples, but has {samples}")
            if not discard.refused:
                self._discarded += samples
                return live
            for ticket in live:
                self._settle(ticket, REFUSED)
        elif not live:
            self._late += 1
        elif len(live) != len(push.tickets) or len(push.versions) != len(push.tickets):
            self._problem(f"{name} was accepted, but not all of its tickets {push.tickets} are that worker's")
        else:
            for ticket, version in zip(push.tickets, push.versions, strict=True):
                held = self._tickets[ticket]
                held.arrived = True
                if not held.min_version <= version <= self._steps.done:
                    wanted = f"{held.min_version} to {self._steps.done}"
                    self._problem(f"ticket {ticket} was computed on version {version}, not on {wanted}")
            accepted = _Push(push.tickets, push.versions, push.weight)
            self._pushes.setdefault((push.worker, push.push), []).append(accepted)
        return []

    # What was done about it ---------------------------------------------------------------------------------

    def _obey(self, command: c.Command) -> None:
        match command:
            case c.Grant():
                self._grant(command)
            case c.Accumulate():
                self._accumulate(command)
            case c.Returned(ticket):
                self._returned += 1
                held = self._tickets.get(ticket)
                if held is None or held.arrived:
                    self._problem(f"ticket {ticket} was given back, but nobody holds it")
                else:
                    self._positions.mark(held.epoch, held.ranges, HELD, FREE, f"ticket {ticket}, given back,")
                    self._tickets.forget(ticket)
            case c.Moved(ticket, step):
                if held := self._tickets.get(ticket):
                    held.step = step
                else:
                    self._problem(f"ticket {ticket} was moved to step {step}, but nobody holds it")
            case c.Dropped(epoch, ranges):
                self._positions.mark(epoch, ranges, FREE, DROPPED, "what was dropped")
            case c.Step():
                self._steps.issue(command)
            case c.Publish(version):
                if version != self._steps.done:
                    self._problem(f"version {version} was published, but the newest is {self._steps.done}")
            case c.EndEpoch():
                self._end_epoch(command)
            case c.Finish():
                self._finish = command
            case _:
                pass

    def _grant(self, grant: c.Grant) -> None:
        if self._tickets.grant(grant):
            what = f"ticket {grant.ticket}, granted to worker {grant.worker},"
            self._positions.mark(grant.epoch, grant.ranges, FREE, HELD, what)

    def _accumulate(self, add: c.Accumulate) -> None:
        name = f"push {add.push} of worker {add.worker}"
        waiting = self._pushes.get((add.worker, add.push))
        if not waiting:
            self._problem(f"{name} was accumulated, but did not arrive or was accumulated before")
            return
        push = waiting.pop(0)
        if not waiting:
            del self._pushes[add.worker, add.push]
        samples = 0
        for ticket in push.tickets:
            held = self._tickets[ticket]
            samples += held.size
            if self._collects and held.step != add.step:
                self._problem(f"{name} was added to step {add.step}, its ticket {ticket} is of {held.step}")
            self._settle(ticket, APPLIED, add.step)
        if samples != add.samples:
            self._problem(f"{name} was added as {add.samples} samples, but has {samples}")
        staleness = add.step - min(push.versions)
        if staleness != add.staleness or staleness < 0:
            self._problem(f"{name} has staleness {staleness}, not {add.staleness}")
        if self._bound is not None and staleness > self._bound:
            self._problem(f"{name} was added with staleness {staleness}, beyond the bound {self._bound}")
        if add.step < self._steps.issued:
            self._problem(f"{name} was added to step {add.step}, which was taken already")
        self._steps.add(add.step, push.weight)
        factor = push.weight / self._header.settings.batch if self._collects and self._header else 1.0
        if not math.isclose(add.factor, factor, rel_tol=1e-9):
            self._problem(f"{name} was added with factor {add.factor}, not {factor}")

    def _end_epoch(self, end: c.EndEpoch) -> None:
        account = self._positions.end(end.epoch)
        if account is None:
            self._problem(f"epoch {end.epoch} ended, but is not under way")
            return
        if account.unfinished:
            self._problem(f"epoch {end.epoch} ended with {account.unfinished} positions unfinished")
        for word in ("applied", "declined", "refused", "dropped"):
            said, found = getattr(end, word), getattr(account, word)
            if said != found:
                self._problem(f"epoch {end.epoch} is said to have {said} {word} positions, but has {found}")

    # Parts --------------------------------------------------------------------------------------------------

    def _stand(self, version: int) -> Mark:
        if version != self._steps.done:
            self._problem(f"a checkpoint is said to be of version {version}, but the newest is {self._steps.done}")
        books = self._positions.books()
        for ends in self._towards.values():
            for epoch, ranges in ends:
                if epoch in books:
                    books[epoch].put(FREE, ranges)
        return Mark(version, books, list(self._positions.ended))

    def _resume(self, resumed: Resumed) -> None:
        """A server went on from a checkpoint: what came after it in the part before does not count."""
        said = mark_of(resumed)
        self._t, self._finish, self._truncated = 0.0, None, False
        mark = self._marks.get(resumed.checkpoint)
        if mark is not None:
            for difference in mark.differences(said):
                self._problem(difference)
        elif resumed.checkpoint in self._wanted:
            self._problem(f"checkpoint {resumed.checkpoint}, from which the run went on, is not in the part before")
        self._tickets.clear()
        self._pushes.clear()
        self._towards.clear()
        self._positions.restore(said.ended, said.books)
        self._steps.restore(said.version)

    # Books --------------------------------------------------------------------------------------------------

    def _settle(self, ticket: int, end: int, step: int | None = None) -> None:
        held = self._tickets[ticket]
        self._positions.mark(held.epoch, held.ranges, HELD, end, f"ticket {ticket}, {WORDS[end]},")
        towards = held.step if step is None else step
        self._steps.settle(towards, held.epoch, held.size, end == APPLIED)
        if self._collects:
            self._towards.setdefault(towards, []).append((held.epoch, held.ranges))
        self._tickets.forget(ticket)

    def _problem(self, text: str) -> None:
        self._count += 1
        if len(self._problems) < PROBLEMS:
            self._problems.append(f"at {self._t:.3f} s: {text}")
