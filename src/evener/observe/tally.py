"""What a run has done so far, kept up to date line by line. Summary and live view both look at it.

Each line costs a few dictionary operations, whatever the length of the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..core import commands as c
from ..core import events as e
from ..core import ranges as r
from ..trace import (
    End,
    EndLine,
    EventLine,
    Header,
    HeaderLine,
    Line,
    LogNote,
    NoteLine,
    Resumed,
    StartNote,
    TargetNote,
    WarningNote,
    WorkerNote,
)
from .work import RECENT, Window, Work


@dataclass(frozen=True, slots=True)
class _Ticket:
    worker: int
    size: int


class Tally:
    """Follows a record. Counts are in samples.

    Attributes:
        applied: samples that were added to steps. ``recomputed``: those of them that were lost with a server, and were
            computed again. ``contained``: in the parameters. ``settled``: positions that came to any end there.
        unseen: samples of an epoch that were applied in a part before this record's first that is there.
        resumed: how often the run went on from a checkpoint. ``over_epochs``: epochs that are over.
        first_grant, last_step: between them lies the run's total time. ``first_step``: when the first was done;
        ``launched``: when the launcher began (below 0).
        starts: how long each process took to take part in the first step; -1 is the server.
        ahead: workers that may start the next step early. ``moved``, ``taken_back``: late tickets, by what was done.
        staleness: applied samples by how many versions each was late. ``pushes``, ``pulls``: transfers.
        logs: the newest note with each logged name, by (source, name); ``epoch_logs``: values by epoch.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.end: End | None = None
        self.finish: c.Finish | None = None
        self.now = 0.0
        self.first_grant: float | None = None
        self.first_step: float | None = None
        self.last_step: float | None = None
        self.launched: float | None = None
        self.starts: dict[int, StartNote] = {}
        self.resumed = self.recomputed = self.contained = self.settled = self.over_epochs = 0
        self.applied = self.refused = self.declined = self.discarded = self.dropped = 0
        self.steps = self.pushes = self.pulls = 0
        self.staleness: Counter[int] = Counter()
        self.moved = self.taken_back = 0
        self.ahead: tuple[int, ...] = ()
        self.version = 0
        self.positions: dict[int, int] = {}
        self.unseen: dict[int, int] = {}
        self.ended: list[tuple[c.EndEpoch, float]] = []
        self.held = False
        self.workers: dict[int, Work] = {}
        self.logs: dict[tuple[str, str], LogNote] = {}
        self.epoch_logs: dict[int, dict[str, float | None]] = {}
        self.targets: list[TargetNote] = []
        self.warnings: list[str] = []
        self.recent = Window(RECENT)
        self.trend = Window(5 * RECENT)
        self._tickets: dict[int, _Ticket] = {}
        self._pushes: dict[tuple[int, int], e.Arrived] = {}

    @property
    def over(self) -> bool:
        """The coordinator has finished, or the record ends."""
        return self.finish is not None or self.end is not None

    @property
    def total_s(self) -> float | None:
        """From the first grant to the last step, seconds."""
        if self.first_grant is None or self.last_step is None:
            return None
        return self.last_step - self.first_grant

    @property
    def stale(self) -> int:
        """Applied samples of staleness ≥ 1."""
        return sum(work.stale for work in self.workers.values())

    def span(self, seconds: float) -> float:
        """The part of the last ``seconds`` in which there was work."""
        return max(1e-3, min(seconds, self.now - (self.first_grant or 0.0)))

    def busy(self, work: Work) -> float:
        """The part of the last seconds that a worker computed, what is under way included."""
        seconds = self.span(RECENT)
        under_way = sum(self.now - max(since, self.now - seconds) for since in work.started.values())
        return min(1.0, (work.busy.total(self.now) + under_way) / seconds)

    def update(self, line: Line) -> None:
        """Take the next line."""
        match line:
            case EventLine(t, event, commands):
                self.now = t
                if self.finish is None:
                    self._hear(event, commands, t)
                    for command in commands:
                        self._obey(command, event, t)
            case NoteLine(_, LogNote() as log):
                self.epoch_logs.setdefault(log.epoch, {}).update(log.values)
                for name in log.values:
                    self.logs[log.source, name] = log
            case NoteLine(_, TargetNote() as target):
                self.targets = [one for one in self.targets if one.name != target.name] + [target]
            case NoteLine(_, WorkerNote(worker=worker, name=name)):
                self._work(worker).name = name
            case NoteLine(t, StartNote() as start):
                if self.first_step is None:
                    self.starts.setdefault(start.worker, start)
                if start.launched_s and self.launched is None:
                    self.launched = t - start.launched_s
            case NoteLine(_, WarningNote(text=text)):
                self.warnings.append(text)
            case HeaderLine(t, header):
                self.header = header
                if header.resumed is not None:
                    self._resume(header.resumed, t)
            case EndLine(_, end):
                self.end = end
            case _:
                pass

    def _work(self, worker: int) -> Work:
        found = self.workers.get(worker)
        if found is None:
            found = self.workers[worker] = Work(worker, f"worker {worker}")
        return found

    def _resume(self, resumed: Resumed, t: float) -> None:
        """Another server goes on, from what a checkpoint contained; what was done after that does not count."""
        under_way = resumed.standing.epochs
        contained = sum(epoch.applied for epoch in resumed.ended) + sum(r.size(one.applied) for one in under_way)
        if self.first_grant is None:
            self.unseen = {one.epoch: r.size(one.applied) for one in under_way}
        self.recomputed += max(0, self.contained - contained)
        self.contained = contained
        self.resumed = resumed.standing.resumed
        self.positions = {one.epoch: one.positions for one in under_way} | {
            one.epoch: one.applied + one.declined + one.refused + one.dropped for one in resumed.ended
        }
        self.settled = sum(self.positions.values()) - sum(r.size(one.free) for one in under_way)
        ended = {epoch.epoch for epoch in resumed.ended}
        self.over_epochs = len(ended)
        self.ended = [(end, when) for end, when in self.ended if end.epoch in ended]
        self.steps -= max(0, self.version - resumed.standing.version) if self.steps else 0
        self.version = resumed.standing.version
        self.finish, self.end, self.held, self.ahead = None, None, False, ()
        self._tickets.clear()
        self._pushes.clear()
        for work in self.workers.values():
            self._leaves(work, t)
            work.tickets.clear()
            work.sits_out, work.late, work.left = "", False, None

    # Events -------------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, commands: Sequence[c.Command], t: float) -> None:
        match event:
            case e.Started(worker, ticket):
                if ticket in self._tickets:
                    work = self._work(worker)
                    work.started[ticket] = t
                    work.late = False
            case e.Computed(worker, ticket, seconds):
                self._computed(self._work(worker), ticket, seconds, t)
            case e.Arrived(worker, push):
                self.pushes += 1
                self._work(worker).late = False
                if any(ticket in self._tickets for ticket in event.tickets):
                    self._pushes[worker, push] = event
            case e.Declined(worker, ticket):
                work = self._work(worker)
                if ticket in work.tickets:
                    self._computed(work, ticket, t - work.started.get(ticket, t), t)
                    size = self._forget(ticket)
                    work.declined += size
                    self.declined += size
                    self.settled += size
            case e.Joined(worker):
                work = self._work(worker)
                self._leaves(work, t)
                work.joined, work.left = t, None
                work.sits_out, work.late = "", False
            case e.Left(worker, reason):
                work = self._work(worker)
                if work.joined is not None:
                    self._leaves(work, t)
                    work.left = reason
            case e.EpochDrawn(epoch, positions):
                self.positions[epoch] = positions
            case e.Received():
                self.pulls += 1
            case e.StepDone(version):
                self.version = version
                self.first_step = t if self.first_step is None else self.first_step
                self.last_step = t
            case e.SnapshotTaken():
                self.held = False
            case _:
                pass

    def _computed(self, work: Work, ticket: int, seconds: float, t: float) -> None:
        work.late = False
        found = self._tickets.get(ticket)
        if work.started.pop(ticket, None) is None and found is None:
            return
        work.compute_s += seconds
        work.busy.add(t, seconds)
        if found is not None and seconds > 0:
            work.computed += found.size
            work.pace.add(found.size / seconds)

    def _leaves(self, work: Work, t: float) -> None:
        if work.joined is not None:
            work.present += t - max(work.joined, self.first_grant or work.joined)
            work.joined = None
        work.started.clear()

    # Commands -----------------------------------------------------------------------------------------------

    def _obey(self, command: c.Command, event: e.Event, t: float) -> None:
        match command:
            case c.Grant(worker, ticket):
                if self.first_grant is None:
                    self.first_grant = t
                size = sum(stop - start for start, stop in command.ranges)
                self._tickets[ticket] = _Ticket(worker, size)
                self._work(worker).tickets.add(ticket)
            case c.Accumulate():
                self._accumulate(command, t)
            case c.Discard(worker, push, _, samples, refused):
                arrived = self._pushes.pop((worker, push), None)
                work = self._work(worker)
                if refused:
                    work.refused += samples
                    self.refused += samples
                    self.settled += samples
                    for ticket in arrived.tickets if arrived else ():
                        self._forget(ticket)
                else:
                    work.discarded += samples
                    self.discarded += samples
            case c.Returned(ticket):
                if found := self._tickets.get(ticket):
                    work = self._work(found.worker)
                    # Taken back because a deadline passed: this worker is late, or gone without a word.
                    work.late |= work.joined is not None and isinstance(event, e.Tick)
                    self.taken_back += isinstance(event, e.Tick | e.Released)
                self._forget(ticket)
            case c.Step(_, _, samples):
                self.steps += samples > 0
                for worker in self.ahead:
                    self._work(worker).ahead += 1
                self.last_step = t
            case c.EndEpoch():
                self.ended.append((command, t))
                self.over_epochs += 1
                self.dropped += command.dropped
                self.settled += command.dropped
            case c.SitOut(worker, why):
                work = self._work(worker)
                work.sits_out = why
                work.sat_out = why or work.sat_out
            case c.Planned():
                self.ahead = command.ahead
            case c.Moved():
                self.moved += 1
            case c.Hold():
                self.held = True
            case c.Warn(_, text):
                self.warnings.append(text)
            case c.Finish():
                self.finish = command
            case _:
                pass

    def _accumulate(self, add: c.Accumulate, t: float) -> None:
        work = self._work(add.worker)
        work.samples += add.samples
        self.applied += add.samples
        self.contained += add.samples
        self.settled += add.samples
        self.recent.add(t, add.samples)
        self.trend.add(t, add.samples)
        push = self._pushes.pop((add.worker, add.push), None)
        if push is None:
            return
        staleness = 0
        for ticket, version in zip(push.tickets, push.versions, strict=False):  # equal, unless the record is damaged
            size = self._forget(ticket)
            late = add.step - version
            staleness += size * late
            self.staleness[late] += size
            if version < add.step:
                work.stale += size
        work.staleness.add(staleness / max(1, add.samples))

    def _forget(self, ticket: int) -> int:
        """Drop the ticket; returns its size."""
        found = self._tickets.pop(ticket, None)
        if found is None:
            return 0
        self._work(found.worker).tickets.discard(ticket)
        return found.size
