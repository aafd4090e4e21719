"""Drive a coordinator and one worker machine per host on a virtual clock.

Events are totally ordered by (time, sequence), so a run is a pure function of its arguments. With timing alone that is
all; with real gradients somebody computes each :class:`~evener.simulation.numeric.Task` at the moment it begins, and a
:class:`~evener.simulation.numeric.Numeric` keeps parameters and sums. Neither changes what happens when.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import Policy
from ..core.standing import Standing
from ..core.state import Settings
from .clock import Clock
from .cluster import Cluster
from .moments import Moments
from .numeric import Numeric, Task, Timing
from .workers import Workers

Observer = Callable[[Coordinator, e.Event, list[c.Command], float], None]
"""Called with the coordinator, what it was just told, what it said to that, and the time."""

SPINS = 100
"""Ticks at one instant, whatever is between them, after which the coordinator is taken to ask for them without end."""


class Stuck(Exception):  # noqa: N818
    """Nothing is left to happen although the run is not over: a liveness bug."""


@dataclass(slots=True)
class Outcome:
    """What a simulated run did.

    Attributes:
        seconds: from the first grant to the last step.
        applied, stale: samples. ``contributions``: pushes that were applied.
        finish: how it ended.
        log: ``(time, event, commands)`` of the coordinator, in order.
    """

    seconds: float = 0.0
    applied: int = 0
    stale: int = 0
    contributions: int = 0
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


class Simulation:
    """One run: the server's half, and what drives both.

    Args:
        cluster, settings, policy: what runs.
        positions: samples per epoch, for timing alone.
        observer: sees the coordinator after every event: the place for a record, or for invariants in tests.
        keep_log: whether the outcome has a log.
        numeric: keeps parameters and sums; ``None``: timing alone.
        past: where the run stands that goes on here; ``None``: it begins.

    Example:
        >>> from evener.core.policies import Balanced
        >>> from evener.simulation.cluster import Host
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
        past: Standing | None = None,
    ) -> None:
        self.cluster = cluster
        self.coordinator = Coordinator(settings, policy, past)
        self.outcome = Outcome()
        self._observer = observer
        self._keep_log = keep_log
        self._numeric = numeric or Timing(positions)
        self._due: deque[Task | c.EndEpoch] = deque()
        self._clock = Clock()
        reach = self._reach if cluster.contribution_seconds else self._tell
        self._workers = Workers(cluster, self._clock, self._numeric, reach, self._due.append)
        if past is not None:
            self._workers.publish(past.version, self._numeric.publish(past.version))
            for epoch in past.owed:
                self._clock.at(cluster.evaluation, self._tell, e.SnapshotTaken(epoch))
        self._first_grant: float | None = None
        self._told = True
        self._server_free = 0.0
        self._moments = Moments(cluster.faults) if cluster.faults else None
        self._does: dict[type, Callable[..., None]] = {  # what is not here is for the record
            c.Grant: self._grant,
            c.Accumulate: self._accumulate,
            c.Step: self._step,
            c.Publish: self._publish,
            c.DrawEpoch: self._draw,
            c.Revoke: self._revoke,
            c.Discard: self._discard,
            c.EndEpoch: self._end_epoch,
            c.Finish: self._finish,
        }

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return self._clock.now

    @property
    def missed(self) -> list[str]:
        """Scripted faults that were not due yet, in words."""
        return [f"never came to it: {fault}" for fault in (self._moments.left if self._moments is not None else ())]

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
        clock = self._clock
        for worker, host in enumerate(self.cluster.hosts):
            clock.at(host.joins, self._workers.join, worker)
            if host.dies is not None:
                clock.at(host.dies, self._workers.die, worker)
            for start, seconds in host.cuts:
                if host.joins <= start:
                    self._workers.miss(worker, start, seconds)
        spins, instant = 0, 0.0
        deadline, until = None, math.inf
        while not self.coordinator.finished:
            if self._told:  # nothing else changes what the coordinator waits for
                deadline, self._told = self.coordinator.deadline(), False
                until = math.inf if deadline is None else deadline
            if not clock.advance(until):
                if deadline is None:
                    raise Stuck(f"nothing left to happen at {clock.now:.3f} s")
                if deadline > clock.now or clock.now > instant:
                    spins = 0
                spins += deadline <= clock.now
                if spins > SPINS:
                    raise Stuck(f"ticks without end at {clock.now:.3f} s")
                clock.now = instant = max(clock.now, deadline)
                self._tell(e.Tick())
            if clock.now > limit:
                raise Stuck(f"not finished after {limit} s")
            while self._due:
                yield self._due.popleft()

    # The server's side --------------------------------------------------------------------------------------

    def _reach(self, event: e.Event) -> None:
        """A worker's word is at the server, which may be busy: contributions take it some time."""
        if isinstance(event, e.Arrived):
            self._clock.at(self._server_takes(self.cluster.contribution_seconds), self._tell, event)
        else:
            self._tell(event)

    def _server_takes(self, seconds: float) -> float:
        """When it has done what takes it so long; one thing at a time, if contributions take it any time."""
        if not self.cluster.contribution_seconds:
            return self._clock.now + seconds
        self._server_free = max(self._server_free, self._clock.now) + seconds
        return self._server_free

    def _tell(self, event: e.Event) -> None:
        now = self._clock.now
        self._told = True
        commands = self.coordinator.handle(event, now)
        if self._keep_log:
            self.outcome.log.append((now, event, commands))
        if self._observer is not None:
            self._observer(self.coordinator, event, commands, now)
        for command in commands:
            if (carry_out := self._does.get(type(command))) is not None:
                carry_out(command)
        if self._moments is not None:
            for fault in self._moments.heard(event, commands, now):
                # Not in the middle of what is being said: a death is an event, too.
                self._clock.at(now, self._workers.befall, fault)

    # What it says is carried out ----------------------------------------------------------------------------

    def _grant(self, grant: c.Grant) -> None:
        if self._first_grant is None:
            self._first_grant = self._clock.now
        self._numeric.grant(grant)
        granted = e.Granted(grant.ticket, grant.epoch, grant.step, grant.group, grant.ranges, grant.min_version)
        self._workers.send(grant.worker, granted)

    def _accumulate(self, add: c.Accumulate) -> None:
        self._numeric.accumulate(add)
        outcome = self.outcome
        outcome.applied += add.samples
        outcome.contributions += 1
        outcome.stale += self._workers.accumulated(add.worker, add.push, add.step)

    def _step(self, step: c.Step) -> None:
        self._numeric.step(step)
        seconds = self.cluster.step_seconds
        self.outcome.steps += 1
        self._clock.at(self._server_takes(seconds), self._tell, e.StepDone(step.version, seconds))

    def _publish(self, publish: c.Publish) -> None:
        self.outcome.seconds = self._clock.now - (self._first_grant or 0.0)
        self._workers.publish(publish.version, self._numeric.publish(publish.version))

    def _draw(self, draw: c.DrawEpoch) -> None:
        positions = self._numeric.draw(draw.epoch)
        self._clock.at(self._clock.now, self._tell, e.EpochDrawn(draw.epoch, positions))

    def _revoke(self, revoke: c.Revoke) -> None:
        self._workers.send(revoke.worker, e.Revoked(revoke.ticket))

    def _discard(self, discard: c.Discard) -> None:
        self._numeric.discard(discard.worker, discard.push)
        self._workers.discarded(discard.worker, discard.push)

    def _end_epoch(self, ended: c.EndEpoch) -> None:
        clock = self._clock
        self._numeric.end_epoch(ended, clock.now)
        self._due.append(ended)
        clock.at(clock.now + self.cluster.evaluation, self._tell, e.SnapshotTaken(ended.epoch))

    def _finish(self, finish: c.Finish) -> None:
        self.outcome.finish = finish
