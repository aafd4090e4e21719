"""The workers' half of a simulated run: one worker machine per host, and the links between them and the server."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..core import commands as c
from ..core import events as e
from ..core.ranges import Range, size
from ..core.worker import WorkerCore
from .clock import Clock
from .cluster import Cluster, Host
from .numeric import Numeric


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
    random: random.Random
    at_hand: object = None
    alive: bool = True
    order: int = 0
    tickets: dict[int, int] = field(default_factory=dict)
    computed: int = 0
    pushes: int = 0
    sent: int = 0
    last_report: float = 0.0
    pull: int | None = None
    sums: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


class Workers:
    """Everything that happens at workers, and on the way to and from them.

    Args:
        cluster: whose hosts they are. Chance (noise, jitter) is each host's own, from the cluster's seed and its
            number: another host changes nothing about it.
        clock: the run's.
        numeric: keeps their sums.
        tell: lets the server hear an event, now.
        begin: told of each micro-batch at the moment it begins.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        numeric: Numeric,
        tell: Callable[[e.Event], None],
        begin: Callable[[Task], None],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._numeric = numeric
        self._tell = tell
        self._begin = begin
        self._workers: dict[int, _Worker] = {}
        self._waiting: set[int] = set()  # for parameters newer than they have
        self._published = 0
        self._parameters = numeric.publish(0)

    # What the server and the cluster do to them -------------------------------------------------------------

    def join(self, worker: int) -> None:
        """It comes, and gets what is published."""
        host = self._cluster.hosts[worker]
        chance = random.Random(f"{self._cluster.seed} {worker}")
        core, order = WorkerCore(worker, self._published), len(self._workers)
        self._workers[worker] = _Worker(host, core, self._parameters, chance, order=order)
        pace = host.pace_at(self._clock.now) if self._cluster.probe else None
        self._tell(e.Joined(worker, self._published, pace))

    def die(self, worker: int) -> None:
        """It goes without a word; the server sees the connection break."""
        if worker in self._workers and self._workers[worker].alive:
            self._workers[worker].alive = False
            self._waiting.discard(worker)
            self._tell(e.Left(worker, "died"))

    def send(self, worker: int, event: e.WorkerEvent) -> None:
        """The server tells it something, which takes the link's latency."""
        target = self._workers[worker]
        at = self._awake(target, self._clock.now + target.host.latency)
        self._clock.at(at, lambda: self._hear(worker, event))

    def publish(self, version: int, parameters: object) -> None:
        """There are newer parameters: who waits for them gets them."""
        self._published, self._parameters = version, parameters
        for worker in sorted(self._waiting, key=lambda worker: self._workers[worker].order):
            self._answer_pull(worker)

    def accumulated(self, worker: int, push: int, step: int) -> int:
        """A push was added to ``step``; returns how many of its samples were computed on older parameters."""
        source = self._workers[worker]
        tickets, versions = source.sums.pop(push)
        return sum(source.tickets[t] for t, v in zip(tickets, versions, strict=True) if v < step)

    # What they do -------------------------------------------------------------------------------------------

    def _hear(self, worker: int, event: e.WorkerEvent) -> None:
        target = self._workers[worker]
        if not target.alive:
            return
        for command in target.core.handle(event, self._clock.now):
            self._carry_out(worker, target, command)

    def _carry_out(self, worker: int, target: _Worker, command: c.WorkerCommand) -> None:
        host, now = target.host, self._clock.now
        match command:  # the frequent ones first
            case c.Tell(event):
                at = now + host.latency
                if host.jitter:
                    at = max(target.last_report, at + target.random.uniform(0.0, host.jitter))
                    target.last_report = at
                self._deliver(target, event, at)
            case c.Compute(ticket, epoch, ranges, version, step):
                samples = target.tickets[ticket] = size(ranges)
                task = Task(worker, ticket, epoch, ranges, version, step, target.parameters, self._declines(target))
                end = self._end_of(target, samples)
                self._begin(task)
                self._clock.at(end, lambda: self._hear(worker, e.ComputeDone(task.declined)))
            case c.Push(tickets, versions):
                self._push(worker, target, tickets, versions)
            case c.Pull(newer_than):
                target.pull = newer_than
                self._waiting.add(worker)
                self._clock.at(now + host.latency, lambda: self._answer_pull(worker))
            case c.Install():
                target.parameters, target.at_hand = target.at_hand, None

    @staticmethod
    def _declines(target: _Worker) -> bool:
        target.computed += 1
        return bool(target.host.declines) and target.computed % target.host.declines == 0

    def _end_of(self, target: _Worker, samples: int) -> float:
        """When a micro-batch of so many samples is through that begins now."""
        host, now = target.host, self._clock.now
        factor = math.exp(target.random.gauss(0.0, host.noise)) if host.noise else 1.0
        end = self._awake(target, now + host.duration(samples, now, factor))
        for start, length in host.stalls:
            if now < start <= end:
                end += length
        return end

    def _awake(self, worker: _Worker, time: float) -> float:
        """``time``, or the end of the stall it falls in."""
        for start, seconds in worker.host.stalls:
            if start <= time < start + seconds:
                return start + seconds
        return time

    # The links ----------------------------------------------------------------------------------------------

    def _push(self, worker: int, target: _Worker, tickets: tuple[int, ...], versions: tuple[int, ...]) -> None:
        host = target.host
        target.pushes += 1
        weight = float(sum(target.tickets[ticket] for ticket in tickets))
        push = self._numeric.push(e.Arrived(worker, target.pushes, tickets, versions, weight))
        if host.refused and target.pushes % host.refused == 0:
            push = replace(push, verdict="not finite")
        target.sums[target.pushes] = tickets, versions
        self._deliver(target, push, self._clock.now + host.uplink)

    def _deliver(self, target: _Worker, event: e.Event, at: float) -> None:
        target.sent += 1
        copies = 2 if target.host.repeats and target.sent % target.host.repeats == 0 else 1
        for _ in range(copies):
            self._clock.at(at, lambda: self._from(target, event))

    def _from(self, target: _Worker, event: e.Event) -> None:
        if target.alive or target.host.jitter:
            self._tell(event)

    def _answer_pull(self, worker: int) -> None:
        target = self._workers[worker]
        if target.alive and target.pull is not None and self._published > target.pull:
            target.pull = None
            self._waiting.discard(worker)
            version, parameters = self._published, self._parameters
            at = self._awake(target, self._clock.now + target.host.downlink)
            self._clock.at(at, lambda: self._receive(worker, version, parameters))

    def _receive(self, worker: int, version: int, parameters: object) -> None:
        self._workers[worker].at_hand = parameters
        self._hear(worker, e.VersionReady(version))
