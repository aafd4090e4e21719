"""The checker: does the record prove that every position counted exactly once?

It shares nothing with the ledger that it checks. It keeps one byte per position of an open epoch, follows
grants, returns and ends through it, and reports in words whatever does not fit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..core import commands as c
from ..core import events as e
from ..core.ranges import Range
from .accounting import APPLIED, DECLINED, DROPPED, FREE, HELD, REFUSED, WORDS, Accounting, EpochAccount
from .policies import rebuild
from .reader import as_lines
from .schema import BrokenLine, EventLine, Header, HeaderLine, Line

PROBLEMS = 50
"""Problems reported in words; further ones are only counted."""


def check(record: str | os.PathLike[str] | Iterable[Line]) -> Accounting:
    """Check a whole record: a run folder, the file, or its lines."""
    checker = Checker()
    for line in as_lines(record):
        checker.feed(line)
    return checker.result()


@dataclass(slots=True)
class _Ticket:
    worker: int
    epoch: int
    step: int
    ranges: tuple[Range, ...]
    size: int
    min_version: int
    arrived: bool = False


@dataclass(slots=True)
class _Push:
    tickets: tuple[int, ...]
    versions: tuple[int, ...]
    weight: float


@dataclass(slots=True)
class _Step:
    """What was settled towards one step; ``epoch`` of its positions."""

    epoch: int = -1
    samples: int = 0
    settled: int = 0
    weight: float = 0.0


@dataclass(slots=True)
class _Open:
    """An epoch under way: one byte of state per position."""

    positions: int
    states: bytearray
    short_steps: list[int] = field(default_factory=list)


class Checker:
    """The incremental form of :func:`check`: feed it lines, ask for the result."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._collects = True
        self._bound: int | None = None
        self._problems: list[str] = []
        self._count = 0
        self._epochs: dict[int, _Open] = {}
        self._ended: list[EpochAccount] = []
        self._tickets: dict[int, _Ticket] = {}
        self._workers: dict[int, set[int]] = {}
        self._pushes: dict[tuple[int, int], list[_Push]] = {}
        self._steps: dict[int, _Step] = {}
        self._issued = self._done = self._returned = self._late = self._discarded = 0
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
            case HeaderLine(_, header):
                self._header = header
                policy = rebuild(header.policy)
                self._collects = policy.collects
                self._bound = getattr(policy, "most", getattr(policy, "bound", 0)) if policy.collects else None
            case BrokenLine(number, why, truncated):
                self._truncated |= truncated
                if not truncated:
                    self._problem(f"line {number} cannot be read: {why}")
            case _:
                pass

    def result(self) -> Accounting:
        """What can be said so far."""
        accounts = [*self._ended, *(self._account(i, epoch, False) for i, epoch in self._epochs.items())]
        complete = self._finish is not None and self._finish.reason == "complete"
        wanted = self._header.settings.epochs if self._header else 0
        if complete and len(self._ended) != wanted:
            self._problem(f"the run says it is complete after {len(self._ended)} of {wanted} epochs")
        return Accounting(
            epochs=tuple(accounts),
            steps=self._issued,
            unstepped=sum(step.samples for index, step in self._steps.items() if index >= self._done),
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
                gone = self._unarrived(worker)
                self._workers[worker] = set()
                return gone
            case e.Left(worker):
                gone = self._unarrived(worker)
                self._workers.pop(worker, None)
                return gone
            case e.EpochDrawn(epoch, positions):
                if epoch in self._epochs or any(account.epoch == epoch for account in self._ended):
                    self._problem(f"epoch {epoch} was drawn twice")
                self._epochs[epoch] = _Open(positions, bytearray(positions))
            case e.Released(worker, ticket):
                return [ticket] if self._lives(worker, ticket) else []
            case e.Declined(worker, ticket):
                if self._lives(worker, ticket):
                    self._settle(ticket, DECLINED)
            case e.Arrived():
                return self._arrived(event, commands)
            case e.StepDone(version):
                if version != self._done + 1 or version > self._issued:
                    self._problem(f"version {version} was done after version {self._done}")
                self._done = version
                self._steps.pop(version - 1, None)
            case _:
                pass
        return []

    def _arrived(self, push: e.Arrived, commands: Sequence[c.Command]) -> list[int]:
        name = f"push {push.push} of worker {push.worker}"
        live = [ticket for ticket in dict.fromkeys(push.tickets) if self._lives(push.worker, ticket)]
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
                if not held.min_version <= version <= self._done:
                    wanted = f"{held.min_version} to {self._done}"
                    self._problem(f"ticket {ticket} was computed on version {version}, not on {wanted}")
            accepted = _Push(push.tickets, push.versions, push.weight)
            self._pushes.setdefault((push.worker, push.push), []).append(accepted)
        return []

    def _unarrived(self, worker: int) -> list[int]:
        return [ticket for ticket in self._workers.get(worker, ()) if self._lives(worker, ticket)]

    def _lives(self, worker: int, ticket: int) -> bool:
        held = self._tickets.get(ticket)
        return held is not None and held.worker == worker and not held.arrived

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
                    self._mark(held.epoch, held.ranges, HELD, FREE, f"ticket {ticket}, given back,")
                    self._forget(ticket)
            case c.Moved(ticket, step):
                if held := self._tickets.get(ticket):
                    held.step = step
                else:
                    self._problem(f"ticket {ticket} was moved to step {step}, but nobody holds it")
            case c.Dropped(epoch, ranges):
                self._mark(epoch, ranges, FREE, DROPPED, "what was dropped")
            case c.Step():
                self._step(command)
            case c.Publish(version):
                if version != self._done:
                    self._problem(f"version {version} was published, but the newest is {self._done}")
            case c.EndEpoch():
                self._end_epoch(command)
            case c.Finish():
                self._finish = command
            case _:
                pass

    def _grant(self, grant: c.Grant) -> None:
        if grant.ticket in self._tickets:
            self._problem(f"ticket {grant.ticket} was granted twice")
            return
        if grant.worker not in self._workers:
            self._problem(f"ticket {grant.ticket} was granted to worker {grant.worker}, who is not here")
        what = f"ticket {grant.ticket}, granted to worker {grant.worker},"
        self._mark(grant.epoch, grant.ranges, FREE, HELD, what)
        size = sum(stop - start for start, stop in grant.ranges)
        self._tickets[grant.ticket] = _Ticket(
            grant.worker, grant.epoch, grant.step, grant.ranges, size, grant.min_version
        )
        self._workers.setdefault(grant.worker, set()).add(grant.ticket)

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
        if add.step < self._issued:
            self._problem(f"{name} was added to step {add.step}, which was taken already")
        self._book(add.step).weight += push.weight
        factor = push.weight / self._header.settings.batch if self._collects and self._header else 1.0
        if not math.isclose(add.factor, factor, rel_tol=1e-9):
            self._problem(f"{name} was added with factor {add.factor}, not {factor}")

    def _step(self, step: c.Step) -> None:
        if step.step != self._issued or step.version != step.step + 1:
            self._problem(f"step {step.step} makes version {step.version}, but step {self._issued} is due")
        self._issued = step.step + 1
        book = self._book(step.step)
        if step.samples != book.samples:
            self._problem(f"step {step.step} counts {step.samples} samples, but {book.samples} were added")
        if self._header is None or not self._collects:
            return
        batch = self._header.settings.batch
        rescale = 1.0 if book.weight in (0.0, batch) else batch / book.weight
        if not math.isclose(step.rescale, rescale, rel_tol=1e-9):
            self._problem(f"step {step.step} is rescaled by {step.rescale}, not by {rescale}")
        epoch = self._epochs.get(book.epoch)
        if book.settled != batch and epoch is not None:
            epoch.short_steps.append(book.settled)
            if epoch.short_steps != [epoch.positions % batch] or self._header.settings.drop_last:
                self._problem(f"step {step.step} has {book.settled} samples, and is no remainder of an epoch")

    def _end_epoch(self, end: c.EndEpoch) -> None:
        epoch = self._epochs.pop(end.epoch, None)
        if epoch is None:
            self._problem(f"epoch {end.epoch} ended, but is not under way")
            return
        account = self._account(end.epoch, epoch, True)
        self._ended.append(account)
        if account.unfinished:
            self._problem(f"epoch {end.epoch} ended with {account.unfinished} positions unfinished")
        for word in ("applied", "declined", "refused", "dropped"):
            said, found = getattr(end, word), getattr(account, word)
            if said != found:
                self._problem(f"epoch {end.epoch} is said to have {said} {word} positions, but has {found}")

    # Books --------------------------------------------------------------------------------------------------

    def _settle(self, ticket: int, end: int, step: int | None = None) -> None:
        held = self._tickets[ticket]
        self._mark(held.epoch, held.ranges, HELD, end, f"ticket {ticket}, {WORDS[end]},")
        book = self._book(held.step if step is None else step)
        book.epoch = held.epoch
        book.settled += held.size
        book.samples += held.size if end == APPLIED else 0
        self._forget(ticket)

    def _forget(self, ticket: int) -> None:
        held = self._tickets.pop(ticket)
        self._workers.get(held.worker, set()).discard(ticket)

    def _book(self, step: int) -> _Step:
        return self._steps.setdefault(step, _Step())

    def _mark(self, epoch: int, ranges: tuple[Range, ...], old: int, new: int, what: str) -> None:
        """Take positions from one state to the next; complain where they are not in it."""
        book = self._epochs.get(epoch)
        if book is None:
            self._problem(f"{what} is of epoch {epoch}, which is not under way")
            return
        for start, stop in ranges:
            if not 0 <= start < stop <= book.positions:
                self._problem(f"{what} has positions {start} to {stop}; epoch {epoch} has {book.positions}")
                continue
            states = book.states[start:stop]
            if states.count(old) != stop - start:
                at = next(i for i, state in enumerate(states) if state != old)
                was = f"position {start + at} of epoch {epoch}, which is {WORDS[states[at]]}"
                self._problem(f"{what} has {was}")
            book.states[start:stop] = bytes([new]) * (stop - start)

    def _account(self, index: int, epoch: _Open, ended: bool) -> EpochAccount:
        count = epoch.states.count
        ends = (count(APPLIED), count(DECLINED), count(REFUSED), count(DROPPED))
        return EpochAccount(index, epoch.positions, *ends, count(HELD), ended)

    def _problem(self, text: str) -> None:
        self._count += 1
        if len(self._problems) < PROBLEMS:
            self._problems.append(f"at {self._t:.3f} s: {text}")
