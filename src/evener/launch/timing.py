"""Simulate a cluster with timing alone: no script, no gradients, in this process, and without torch."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import POLICIES, Policy
from ..core.state import Settings
from ..runtime.place import PolicyChoice
from ..simulation.cluster import Cluster, as_data
from ..simulation.drive import Outcome, Simulation, Stuck
from ..trace import Writer, record_path
from . import folders
from ._signals import Signals
from .ending import RunResult
from .options import LaunchError, check_policy, check_record
from .screen import Plain, Screen
from .simulated import cluster_notes

LOOK = 2000
"""Micro-batches between two looks at signals and the screen."""

REFRESH = 0.25
"""Seconds between two refreshes of the screen, at least."""

BYTES = 4
"""Of each number that is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingOptions:
    """A simulated run with timing alone.

    Attributes:
        cluster: what to simulate. The run's seed is added to that of its chance.
        batch: samples per optimizer step, ``B``.
        samples: of an epoch.
        epochs: passes over them.
        policy: by name, with the options that differ from the policy's own defaults.
        seed: of the run; the same seed gives the same record, to the byte.
        micro_batch: samples of a micro-batch in a reproducible run (:class:`~evener.launch.RunOptions`); 0: none.
        record: folder for the run's record; ``None``: ``runs/<run id>`` below the current folder.
        keep: whether there is a record; without one a run is several times faster.
        script: what the run stands for, by name, for the record.
    """

    cluster: Cluster
    batch: int
    samples: int
    epochs: int = 1
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    seed: int = 0
    micro_batch: int = 0
    record: Path | None = None
    keep: bool = True
    script: str = ""

    def check(self) -> None:
        """Find out what can be found out before anything is started.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        for name, given in (("batch", self.batch), ("samples", self.samples), ("epochs", self.epochs)):
            if given < 1:
                raise LaunchError(f"--{name} is a number from 1, not {given}.")
        check_policy(self.policy, self.micro_batch)
        try:
            self.new_policy().check(self.batch)
        except ValueError as error:
            raise LaunchError(f"the policy {self.policy.name} cannot be used so: {error}.") from None
        check_record(self.record)

    def new_policy(self) -> Policy:
        """The policy, as it is asked for."""
        return POLICIES[self.policy.name](**self.policy.options)

    @property
    def settings(self) -> Settings:
        """The coordinator's."""
        workers = self.cluster.at_start
        return Settings(self.batch, self.epochs, workers, seed=self.seed, micro_batch=self.micro_batch)

    @property
    def seeded(self) -> Cluster:
        """The cluster with the run's seed."""
        return dataclasses.replace(self.cluster, seed=self.cluster.seed + self.seed)

    @property
    def run(self) -> str:
        """The run's id: the same for the same run."""
        what = msgspec.json.encode((self.settings, self.samples, self.policy, as_data(self.seeded)))
        return f"simulated-{hashlib.blake2b(what, digest_size=4).hexdigest()}"


@dataclass(frozen=True, slots=True)
class TimingResult(RunResult):
    """How a simulated run went.

    Attributes:
        outcome: counts and virtual seconds.
        took: seconds that the simulation itself took.
    """

    outcome: Outcome = field(default_factory=Outcome)
    took: float = 0.0

    def to_dict(self, asked: TimingOptions) -> dict[str, Any]:
        """The result of a run without a record, for programs."""
        outcome = self.outcome
        return {
            "policy": asked.policy.name,
            "batch": asked.batch,
            "seed": asked.seed,
            "hosts": len(asked.cluster.hosts),
            "samples": outcome.applied,
            "steps": outcome.steps,
            "contributions": outcome.contributions,
            "total_s": outcome.seconds,
            "samples_per_second": outcome.samples_per_second,
            "part_of_paces": outcome.samples_per_second / sum(host.pace for host in asked.cluster.hosts),
            "stale_fraction": outcome.stale_fraction,
            "ok": outcome.finish is not None and outcome.finish.ok and not self.code,
            "reason": outcome.finish.reason if outcome.finish else "; ".join(self.problems),
            "simulated_in_s": self.took,
        }


def simulate_timing(options: TimingOptions, screen: Screen | None = None) -> TimingResult:
    """Simulate, and write the record of it. Ctrl-C, SIGTERM and SIGHUP end the run.

    Raises:
        LaunchError: the run cannot be started; nothing was.
    """
    options.check()
    shown = screen or Plain()
    with Signals() as signals, _without_collector():
        begun = time.monotonic()
        folder = folders.make(folders.new_run_id(), options.record).resolve() if options.keep else Path()
        writer = Writer(folder) if options.keep else None
        simulation = _simulation(options, writer)
        if writer is not None:
            shown.follow(record_path(folder))
        problems: tuple[str, ...] = ()
        try:
            _go(simulation, shown, signals)
        except Stuck as stuck:
            problems = (f"the simulated run cannot go on: {stuck}. Does any host live long enough?",)
        finally:
            _end(simulation, writer, problems)
            shown.tick()
            shown.unfollow()
        for problem in problems:
            shown.note(problem)
        finish = simulation.outcome.finish
        code = signals.exit_code or int(bool(problems) or (finish is not None and not finish.ok))
        took = time.monotonic() - begun
        return TimingResult(code, options.run, folder, problems, outcome=simulation.outcome, took=took)


def _simulation(options: TimingOptions, writer: Writer | None) -> Simulation:
    cluster, settings, policy = options.seeded, options.settings, options.new_policy()
    if writer is not None:
        writer.header(
            run=options.run,
            settings=settings,
            policy=policy,
            parameters=cluster.parameters // BYTES,
            script=options.script,
            positions=options.samples,
            kind="simulation",
            created="",  # the same run gives the same bytes
            notes={**cluster_notes(cluster), "cluster": as_data(cluster)},
        )
    observer = None if writer is None else _Recorder(writer)
    return Simulation(cluster, settings, policy, options.samples, observer, keep_log=False)


class _Recorder:
    """Writes what the coordinator hears and says, and who comes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __call__(self, coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        if isinstance(event, e.Joined):
            self._writer.note(now, "worker", worker=event.worker, name=f"worker {event.worker}")
        self._writer.event(now, event, commands)


def _go(simulation: Simulation, screen: Screen, signals: Signals) -> None:
    work = simulation.work(limit=math.inf)
    shown = time.monotonic()
    while sum(1 for _ in islice(work, LOOK)):
        if signals.received:
            screen.note(f"stopping, as {signals.received[0].name} asks.")
            simulation.stop(f"{signals.received[0].name} was received")
            return
        if time.monotonic() - shown >= REFRESH:
            screen.tick()
            shown = time.monotonic()


def _end(simulation: Simulation, writer: Writer | None, problems: tuple[str, ...]) -> None:
    if writer is None:
        return
    for text in simulation.missed:
        writer.note(simulation.now, "warning", text=text)
    finish = simulation.outcome.finish
    stopped = finish is not None and finish.reason.endswith("was received")
    ok, reason = (finish.ok and not stopped, finish.reason) if finish is not None else (False, "; ".join(problems))
    writer.end(simulation.now, ok=ok, reason=reason or "it did not finish")
    writer.close()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing that a simulation makes and drops refers to itself in a circle, so collecting such is time wasted."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
