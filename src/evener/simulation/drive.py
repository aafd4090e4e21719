"""Drive a coordinator and one worker machine per host on a virtual clock.

Events are totally ordered by (time, sequence), so a run is a pure function of its arguments. With timing alone that is
all; with real gradients somebody computes each :class:`Task` at the moment it begins, and a
:class:`~evener.simulation.numeric.Numeric` keeps parameters and sums. Neither changes what happens when.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import Policy
from ..core.ranges import Range, size
from ..core.state import Settings
from ..core.worker import WorkerCore
from .cluster import Cluster, Host
from .numeric import Numeric, Timing

Observer = Callable[[Coordinator, e.Event, list[c.Command], float], None]
"""Called with the coordinator, what it was just told, what it said to that, and the time."""

SPINS = 100
"""Ticks in a row at one instant after which the coordinator is taken to ask for them without end."""


class Stuck(Exception):  # noqa: N818
    """Nothing is left to happen although the run is not over: a liveness bug."""


@dataclass(slots=True)
class Outcome:
    """What a simulated run did. ``log`` holds ``(time, event, commands)`` of the coordinator, in order."""

    seconds: float = 0.0
    applied: int = 0
    stale: int = 0
    steps: int = 0
    finish: c.Finish | None = None
    log: list[tuple[float, e.Event, list[c.Command]]] = field(default_factory=list)

    @property
    def samples_per_second(self) -> float:
        """Applied samples over the time from the first grant to the last step."""
        return self.applied / self.seconds if self.seconds else 0.0

    @property
    def stale_fraction(self) -> float:
        """Share of the applied samples that were computed on parameters at least one version old."""
        return self.stale / self.applied if self.applied else 0.0


@dataclass(slots=True)
class Task:
    """A micro-batch that begins now: the samples of ``ranges``, on ``parameters`` (of ``version``), for ``step``.

    ``parameters`` is what :meth:`~evener.simulation.numeric.Numeric.publish` returned. Whoever computes it sets
    ``declined`` where the script took no step.
    """

    worker: int
    ticket: int
    epoch: int
    ranges: tuple[Range, ...]
    version: int
    step: int
    parameters: object
    declined: bool = False


@dataclass(slots=True)
class _Worker:
    host: Host
    core: WorkerCore
    parameters: object
    at_hand: object = None
    alive: bool = True
    tickets: dict[int, int] = field(default_factory=dict)
    computed: int = 0
    pushes: int = 0
    sent: int = 0
    last_report: float = 0.0
    pull: int | None = None
    sums: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


class Simulation:
    """One run.

    Args:
        cluster, settings, policy: what runs.
        positions: samples per epoch, for timing alone.
        observer: sees the coordinator after every event: the place for a record, or for invariants in tests.
        keep_log: whether the outcome has a log.
        numeric: keeps parameters and sums; ``None``: timing alone.

    Example:
        >>> from evener.core.policies import Balanced
        >>> cluster = Cluster((Host(pace=800), Host(pace=100)))
        >>> settings = Settings(batch=64, epochs=1, workers=2)
        >>> outcome = Simulation(cluster, settings, Balanced(), positions=640).run()
        >>> outcome.applied, outcome.finish.reason
        (640, 'complete')
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        policy: Policy,
        positions: int,
        observer: Observer | None = None,
        keep_log: bool = True,
        numeric: Numeric | None = None,
    ) -> None:
        self.cluster = cluster
        self.coordinator = Coordinator(settings, policy)
        self.outcome = Outcome()
        self._observer = observer
        self._keep_log = keep_log
        self._numeric = numeric or Timing(positions)
        self._due: deque[Task | c.EndEpoch] = deque()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._now = 0.0
        self._random = random.Random(cluster.seed)
        self._workers: dict[int, _Worker] = {}
        self._first_grant: float | None = None
        self._published = 0
        self._parameters = self._numeric.publish(0)

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    def run(self, limit: float = 1e6) -> Outcome:
        """Run to the end, computing nothing.

        Raises:
            Stuck: as :meth:`work` does.
        """
        for _ in self.work(limit):
            pass
        return self.outcome

    def stop(self, reason: str) -> None:
        """The script wants the run to end."""
        self._tell(e.StopAsked(reason))

    def work(self, limit: float = 1e6) -> Iterator[Task | c.EndEpoch]:
        """Run to the end; yields each micro-batch at the moment it begins, and the end of each epoch.

        Raises:
            Stuck: the coordinator neither finished nor expects anything, asks for one ``Tick`` after the other, or
                virtual time passed ``limit`` s.
        """
        for worker, host in enumerate(self.cluster.hosts):
            self._at(host.joins, partial(self._join, worker, host))
            if host.dies is not None:
                self._at(host.dies, partial(self._die, worker))
        spins = 0
        while not self.coordinator.finished:
            deadline = self.coordinator.deadline()
            if self._heap and (deadline is None or self._heap[0][0] <= deadline):
                self._now, _, action = heapq.heappop(self._heap)
                spins = 0
                action()
            elif deadline is not None:
                spins = spins + 1 if deadline <= self._now else 0
                if spins > SPINS:
                    raise Stuck(f"ticks without end at {self._now:.3f} s")
                self._now = max(self._now, deadline)
                self._tell(e.Tick())
            else:
                raise Stuck(f"nothing left to happen at {self._now:.3f} s")
            if self._now > limit:
                raise Stuck(f"not finished after {limit} s")
            while self._due:
                yield self._due.popleft()

    def _at(self, time: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (time, self._sequence, action))

    # The server's side --------------------------------------------------------------------------------------

    def _tell(self, event: e.Event) -> None:
        commands = self.coordinator.handle(event, self._now)
        if self._keep_log:
            self.outcome.log.append((self._now, event, commands))
        if self._observer is not None:
            self._observer(self.coordinator, event, commands, self._now)
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: c.Command) -> None:
        match command:
            case c.DrawEpoch(epoch):
                positions = self._numeric.draw(epoch)
                self._at(self._now, lambda: self._tell(e.EpochDrawn(epoch, positions)))
            case c.Grant():
                if self._first_grant is None:
                    self._first_grant = self._now
                self._numeric.grant(command)
                g = command
                granted = e.Granted(g.ticket, g.epoch, g.step, g.group, g.ranges, g.min_version)
                self._send(g.worker, granted)
            case c.Revoke(worker, ticket):
                self._send(worker, e.Revoked(ticket))
            case c.Accumulate(worker, push, step, samples, _, _):
                self._numeric.accumulate(command)
                self.outcome.applied += samples
                source = self._workers[worker]
                tickets, versions = source.sums.pop(push)
                self.outcome.stale += sum(source.tickets[t] for t, v in zip(tickets, versions, strict=True) if v < step)
            case c.Discard(worker, push):
                self._numeric.discard(worker, push)
            case c.Step(version=version):
                self._numeric.step(command)
                seconds = self.cluster.step_seconds
                self.outcome.steps += 1
                self._at(self._now + seconds, lambda: self._tell(e.StepDone(version, seconds)))
            case c.Publish(version):
                self._published, self._parameters = version, self._numeric.publish(version)
                self.outcome.seconds = self._now - (self._first_grant or 0.0)
                for worker in self._workers:
                    self._answer_pull(worker)
            case c.EndEpoch(epoch):
                self._numeric.end_epoch(command, self._now)
                self._due.append(command)
                self._at(self._now + self.cluster.evaluation, lambda: self._tell(e.SnapshotTaken(epoch)))
            case c.Finish():
                self.outcome.finish = command
            case _:
                pass

    # The workers' side --------------------------------------------------------------------------------------

    def _join(self, worker: int, host: Host) -> None:
        self._workers[worker] = _Worker(host, WorkerCore(worker, self._published), self._parameters)
        pace = host.pace_at(self._now) if self.cluster.probe else None
        self._tell(e.Joined(worker, self._published, pace))

    def _die(self, worker: int) -> None:
        if worker in self._workers and self._workers[worker].alive:
            self._workers[worker].alive = False
            self._tell(e.Left(worker, "died"))

    def _awake(self, worker: _Worker, time: float) -> float:
        """``time``, or the end of the stall it falls in."""
        for start, seconds in worker.host.stalls:
            if start <= time < start + seconds:
                return start + seconds
        return time

    def _send(self, worker: int, event: e.WorkerEvent) -> None:
        target = self._workers[worker]
        at = self._awake(target, self._now + target.host.latency)
        self._at(at, lambda: self._hear(worker, event))

    def _hear(self, worker: int, event: e.WorkerEvent) -> None:
        target = self._workers[worker]
        if not target.alive:
            return
        for command in target.core.handle(event, self._now):
            self._work(worker, target, command)

    def _work(self, worker: int, target: _Worker, command: c.WorkerCommand) -> None:
        host = target.host
        match command:
            case c.Compute(ticket, epoch, ranges, version, step):
                target.tickets[ticket] = size(ranges)
                factor = math.exp(self._random.gauss(0.0, host.noise)) if host.noise else 1.0
                seconds = host.duration(size(ranges), self._now, factor)
                target.computed += 1
                declined = bool(host.declines) and target.computed % host.declines == 0
                task = Task(worker, ticket, epoch, ranges, version, step, target.parameters, declined)
                self._due.append(task)
                end = self._awake(target, self._now + seconds)
                for start, length in host.stalls:
                    if self._now < start <= end:
                        end += length
                self._at(end, lambda: self._hear(worker, e.ComputeDone(task.declined)))
            case c.Push(tickets, versions):
                target.pushes += 1
                bad = bool(host.refused) and target.pushes % host.refused == 0
                weight = float(sum(target.tickets[ticket] for ticket in tickets))
                push = self._numeric.push(e.Arrived(worker, target.pushes, tickets, versions, weight))
                if bad:
                    push = replace(push, verdict="not finite")
                target.sums[target.pushes] = tickets, versions
                self._deliver(target, push, self._now + host.uplink)
            case c.Pull(newer_than):
                target.pull = newer_than
                self._at(self._now + host.latency, lambda: self._answer_pull(worker))
            case c.Tell(event):
                at = self._now + host.latency
                if host.jitter:
                    at = max(target.last_report, at + self._random.uniform(0.0, host.jitter))
                    target.last_report = at
                self._deliver(target, event, at)
            case c.Install():
                target.parameters, target.at_hand = target.at_hand, None

    def _deliver(self, target: _Worker, event: e.Event, at: float) -> None:
        target.sent += 1
        copies = 2 if target.host.repeats and target.sent % target.host.repeats == 0 else 1
        for _ in range(copies):
            self._at(at, lambda: self._from(target, event))

    def _from(self, target: _Worker, event: e.Event) -> None:
        if target.alive or target.host.jitter:
            self._tell(event)

    def _answer_pull(self, worker: int) -> None:
        target = self._workers[worker]
        if target.alive and target.pull is not None and self._published > target.pull:
            target.pull = None
            version, parameters = self._published, self._parameters
            at = self._awake(target, self._now + target.host.downlink)
            self._at(at, lambda: self._receive(worker, version, parameters))

    def _receive(self, worker: int, version: int, parameters: object) -> None:
        self._workers[worker].at_hand = parameters
        self._hear(worker, e.VersionReady(version))
