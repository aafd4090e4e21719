"""The workers' half of a simulated run: one worker machine per host, and the links between them and the server."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter

from ..core import commands as c
from ..core import events as e
from ..core.ranges import size
from ..core.worker import WorkerCore
from .clock import Clock
from .cluster import Cluster, Host
from .faults import CUT_OFF, DIES, HANGS, Fault
from .network import Network, Ways
from .numeric import Numeric, Task
from .pauses import Pauses

PROBED = 16
"""Samples of the micro-batches by which a worker measures its own pace before it joins."""

LEAST = 0.5
"""A micro-batch takes this part, at least, of what it would at an even pace."""


@dataclass(slots=True, eq=False)
class _Worker:
    host: Host
    core: WorkerCore
    parameters: object
    chance: random.Random
    pauses: Pauses | None
    ways: Ways
    order: int
    at_hand: object = None
    alive: bool = True
    silent: bool = False
    busy: bool = False
    lag: float = 0.0
    stopped: float = 0.0
    tickets: dict[int, int] = field(default_factory=dict)
    computed: int = 0
    pushes: int = 0
    sent: int = 0
    last_report: float = 0.0
    sending: float = 0.0
    worked: float = 0.0
    ahead: float = 0.0
    pull: int | None = None
    sums: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


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
        self._network = Network(cluster, clock)
        self._workers: dict[int, _Worker] = {}
        self._waiting: set[int] = set()  # for parameters newer than they have
        self._published = 0
        self._parameters = numeric.publish(0)
        self._does: dict[type, Callable[..., None]] = {
            c.Tell: self._report,
            c.Compute: self._compute,
            c.Push: self._push,
            c.Pull: self._pull,
            c.Install: self._install,
        }

    # What the server and the cluster do to them -------------------------------------------------------------

    def join(self, worker: int) -> None:
        """It comes, or comes back, and gets what is published."""
        before = self._workers.get(worker)
        if before is not None and not before.silent:
            return  # it was not missed, or died meanwhile
        host, name = self._cluster.hosts[worker], f"{self._cluster.seed} {worker}"
        drawn = host.pareto.draw(random.Random(f"{name} stalls")) if host.pareto else None
        self._workers[worker] = here = _Worker(
            host,
            WorkerCore(worker, self._published),
            self._parameters,
            random.Random(name),
            Pauses(host.stalls, drawn) or None,
            self._network.ways(worker),
            order=len(self._workers),
        )
        if before is not None:  # the server numbers pushes, and goes on
            here.order, here.pushes, here.sums = before.order, before.pushes, before.sums
        pace = PROBED / host.duration(PROBED, self._clock.now) if self._cluster.probe else None
        self._tell(e.Joined(worker, self._published, pace))

    def die(self, worker: int) -> None:
        """It goes without a word; the server sees the connection break."""
        if worker in self._workers:
            self._workers[worker].silent = False
            self._gone(worker, "died")

    def befall(self, fault: Fault) -> None:
        """A fault that nobody knew the time of happens now. A worker that is not there cannot be struck."""
        target, now, seconds = self._workers.get(fault.worker), self._clock.now, fault.seconds or 0.0
        if target is None or not target.alive:
            return
        if fault.what == DIES:
            self.die(fault.worker)
        elif fault.what == HANGS:
            target.stopped = max(target.stopped, now + seconds)
            target.lag += seconds if target.busy else 0.0
        elif fault.what == CUT_OFF:
            target.ways.cut(now, seconds)
            self.miss(fault.worker, now, seconds)
        else:
            slows = sorted((*target.host.slows, (now, seconds, fault.factor or 1.0)))
            target.host = replace(target.host, slows=tuple(slows))

    def miss(self, worker: int, start: float, seconds: float) -> None:
        """It is cut off for so long: who is silent for too long is taken for gone, and joins anew."""
        silence = self._cluster.hosts[worker].silence
        if silence is not None and seconds > silence:
            self._clock.at(start + silence, self.fall_silent, worker)
            self._clock.at(start + seconds, self.join, worker)

    def fall_silent(self, worker: int) -> None:
        """Nothing has come from it for so long that the server takes it for gone."""
        if worker in self._workers and self._workers[worker].alive:
            self._workers[worker].silent = True
            self._gone(worker, "silent")

    def _gone(self, worker: int, why: str) -> None:
        if self._workers[worker].alive:
            self._workers[worker].alive = False
            self._workers[worker].ways.close()
            self._waiting.discard(worker)
            self._tell(e.Left(worker, why))

    def send(self, worker: int, event: e.WorkerEvent) -> None:
        """The server tells it something, which takes the link's latency."""
        target = self._workers[worker]
        self._at(target, target.ways.to(self._clock.now), self._hear, target, event)

    def publish(self, version: int, parameters: object) -> None:
        """There are newer parameters: who waits for them gets them."""
        self._published, self._parameters = version, parameters
        if self._waiting:
            for target in sorted([self._workers[worker] for worker in self._waiting], key=_order):
                self._answer_pull(target)

    def accumulated(self, worker: int, push: int, step: int) -> int:
        """A push was added to ``step``; returns how many of its samples were computed on older parameters."""
        return sum([samples for samples, version in self._workers[worker].sums.pop(push) if version < step])

    def discarded(self, worker: int, push: int) -> None:
        """A push does not count."""
        self._workers[worker].sums.pop(push, None)

    # What they do -------------------------------------------------------------------------------------------

    def _hear(self, target: _Worker, event: e.WorkerEvent) -> None:
        if self._clock.now < target.stopped:  # it listens again then
            self._clock.at(target.stopped, self._hear, target, event)
        elif target.alive:
            for command in target.core.handle(event, self._clock.now):
                self._does[type(command)](target, command)

    def _report(self, target: _Worker, tell: c.Tell) -> None:
        at = target.ways.back(self._clock.now)
        if jitter := target.host.jitter:
            at = max(target.last_report, at + target.chance.uniform(0.0, jitter))
            target.last_report = at
        self._deliver(target, tell.event, at)

    def _compute(self, target: _Worker, job: c.Compute) -> None:
        samples = target.tickets[job.ticket] = size(job.ranges)
        declined, worker = self._declines(target), target.core.worker
        task = Task(worker, job.ticket, job.epoch, job.ranges, job.version, job.step, target.parameters, declined)
        # What a push still takes of its processor comes first.
        end = self._end_of(target, samples) + max(0.0, target.sending - self._clock.now)
        target.busy = True
        self._begin(task)
        self._clock.at(end, self._computed, target, task)

    def _pull(self, target: _Worker, pull: c.Pull) -> None:
        target.pull = pull.newer_than
        self._waiting.add(target.core.worker)
        at = target.ways.back(self._clock.now)
        if self._published > pull.newer_than:  # else the next publication answers it
            self._clock.at(at, self._answer_pull, target)

    def _install(self, target: _Worker, install: c.Install) -> None:
        target.parameters, target.at_hand = target.at_hand, None

    @staticmethod
    def _declines(target: _Worker) -> bool:
        target.computed += 1
        return bool(target.host.declines) and target.computed % target.host.declines == 0

    def _computed(self, target: _Worker, task: Task) -> None:
        if target.lag:  # it was held up meanwhile
            lag, target.lag = target.lag, 0.0
            self._clock.at(self._clock.now + lag, self._computed, target, task)
            return
        target.busy, target.worked = False, self._clock.now
        if task.declined:
            del target.tickets[task.ticket]
        self._hear(target, e.ComputeDone(task.declined))

    def _end_of(self, target: _Worker, samples: int) -> float:
        """When a micro-batch of so many samples is through that begins now."""
        host, now = target.host, self._clock.now
        factor = math.exp(target.chance.gauss(0.0, host.noise)) if host.noise else 1.0
        seconds = host.duration(samples, now, factor)
        if host.burst or host.scatter:
            seconds = self._under_quota(target, seconds)
        end = now + seconds
        return target.pauses.end(now, end) if target.pauses else end

    def _under_quota(self, target: _Worker, seconds: float) -> float:
        """What takes so long at an even pace, as it is at one that comes in periods."""
        host, now, before = target.host, self._clock.now, target.ahead
        slowness = host.slowness(now)
        rested = max(0.0, now - max(target.worked, target.sending))
        target.ahead = target.chance.gauss(0.0, host.scatter) * slowness if host.scatter else 0.0
        return max(LEAST * seconds, seconds - min(rested, host.burst * slowness) + before - target.ahead)

    def _at(self, target: _Worker, time: float, action: Callable[..., None], *arguments: object) -> None:
        """Let something happen at a worker: at ``time``, or when it does not hang any more."""
        self._clock.at(target.pauses.after(time) if target.pauses else time, action, *arguments)

    # To and from the server ---------------------------------------------------------------------------------

    def _push(self, target: _Worker, push: c.Push) -> None:
        host, tickets, versions = target.host, push.tickets, push.versions
        target.pushes += 1
        target.sending = max(target.sending, self._clock.now) + host.work(host.push_work, self._clock.now)
        samples = [target.tickets.pop(ticket) for ticket in tickets]
        target.sums[target.pushes] = list(zip(samples, versions, strict=True))
        event = e.Arrived(target.core.worker, target.pushes, tickets, versions, float(sum(samples)))
        arrived = self._numeric.push(event)
        if host.refused and target.pushes % host.refused == 0:
            arrived = replace(arrived, verdict="not finite")
        target.ways.push(lambda at: self._land(target, arrived, at))

    def _land(self, target: _Worker, push: e.Arrived, at: float) -> None:
        self._deliver(target, push, at)
        self._clock.at(at, self._confirm, target)

    def _confirm(self, target: _Worker) -> None:
        self._at(target, target.ways.to(self._clock.now), self._hear, target, e.Landed())

    def _deliver(self, target: _Worker, event: e.Event, at: float) -> None:
        target.sent += 1
        self._clock.at(at, self._from, target, event)
        if target.host.repeats and target.sent % target.host.repeats == 0:
            self._clock.at(at, self._from, target, event)

    def _from(self, target: _Worker, event: e.Event) -> None:
        if target.alive or target.host.jitter:
            self._tell(event)

    def _answer_pull(self, target: _Worker) -> None:
        if target.alive and target.pull is not None and self._published > target.pull:
            target.pull = None
            self._waiting.discard(target.core.worker)
            version, parameters = self._published, self._parameters
            target.ways.pull(lambda at: self._at(target, at, self._receive, target, version, parameters))

    def _receive(self, target: _Worker, version: int, parameters: object) -> None:
        target.at_hand = parameters
        work = target.host.work(target.host.pull_work, self._clock.now)
        if target.busy:
            target.lag += work
        else:
            target.worked = max(target.worked, target.sending) + work  # it does not rest meanwhile
        self._hear(target, e.VersionReady(version))


_order = attrgetter("order")
