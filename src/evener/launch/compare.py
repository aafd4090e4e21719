"""Several runs of one training, one after the other: each policy on each cluster, or for real."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core.policies import POLICIES
from ..runtime.place import PolicyChoice
from ..simulation.cluster import Cluster
from ..simulation.limit import limit
from ..trace import BrokenLine, read_limit, record_path
from ..trace.codec import decode_line
from . import folders
from .limit import StoppedError, measure_limit
from .local import run
from .options import LaunchError, RunOptions, check_policy, check_record
from .screen import Plain, Screen
from .simulated import SimulateOptions, simulate
from .timing import TimingOptions, simulate_timing

STOPPED = 128
"""Exit codes above it name the signal that ended a run."""

_TAIL = 1 << 16
"""Bytes of a record's end in which its last line is."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One of the runs: ``folder`` below that of the comparison; ``change`` to the cluster, in words."""

    label: str
    folder: str
    policy: PolicyChoice
    change: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A run that is over: its record, and the limit (samples/s) of what it ran on, where it is known."""

    leg: Leg
    record: Path
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """A comparison.

    Attributes:
        policies: each once.
        what: is simulated with timing alone, simulated with a script's gradients, or run for real. Its policy, record,
            seed and cluster are set for each run.
        clusters: by what is changed, in words; empty words: nothing. Not used for real runs.
        folder: for the records; ``None``: ``runs/compare-<run id>``.
        seed: of all runs.
        measure: whether the limit of a real cluster is measured first.
    """

    policies: tuple[PolicyChoice, ...]
    what: TimingOptions | SimulateOptions | RunOptions
    clusters: dict[str, Cluster] = field(default_factory=dict)
    folder: Path | None = None
    seed: int = 0
    measure: bool = False

    def legs(self) -> list[Leg]:
        """The runs, in order."""
        changes = [""] if isinstance(self.what, RunOptions) else list(self.clusters)
        found = []
        for change in changes:
            suffix = "-changed" if change else ""
            for policy in self.policies:
                name = label(policy)
                found.append(Leg(name, re.sub(r"[^A-Za-z0-9_.]+", "-", name) + suffix, policy, change))
        return found

    def check(self) -> None:
        """Find out what can be found out before anything is started.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        if not self.policies:
            raise LaunchError(f"there is no policy to compare. Name some of: {', '.join(POLICIES)}.")
        labels = [label(policy) for policy in self.policies]
        for name in labels:
            if labels.count(name) > 1:
                raise LaunchError(f"the policy {name} was named twice. Name each once, or with other options.")
        for policy in self.policies:
            check_policy(policy)
        if self.folder is not None:
            for leg in self.legs():
                check_record(self.folder / leg.folder)
        self.what.check()


def label(policy: PolicyChoice) -> str:
    """A policy and what was chosen about it.

    >>> label(PolicyChoice("balanced", {"bound": 0}))
    'balanced bound=0'
    """
    options = policy.options.items()
    chosen = (f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options)
    return " ".join([policy.name, *chosen])


def compare(options: CompareOptions, screen: Screen | None = None) -> Iterator[Done]:
    """Carry the runs out, one after the other; yields each when it is over.

    Raises:
        LaunchError: it cannot be started, or a run failed: those before it are there.
        StoppedError: the user or the system asked the measurement of the limit to end.
    """
    screen = screen or Plain()
    options.check()
    name = f"compare-{folders.new_run_id()}"
    folder = folders.make(name, options.folder)
    legs = options.legs()
    measured = None
    if options.measure and isinstance(options.what, RunOptions):
        screen.note("measuring what the workers compute without any communication (the limit)")
        asked = dataclasses.replace(options.what, record=folder / "limit", seed=options.seed)
        measured = read_limit(measure_limit(asked, screen)).samples_per_second
    for number, leg in enumerate(legs, 1):
        change = f", {leg.change}" if leg.change else ""
        screen.note(f"run {number} of {len(legs)}: {leg.label}{change}")
        record = folder / leg.folder
        match options.what:
            case TimingOptions() | SimulateOptions() as simulated:
                cluster = options.clusters[leg.change]
                this = dataclasses.replace(
                    simulated, cluster=cluster, policy=leg.policy, record=record, seed=options.seed
                )
                result = simulate_timing(this, screen) if isinstance(this, TimingOptions) else simulate(this, screen)
                _ended(result.code, leg)
                yield Done(leg, record, limit(cluster, _last(record)))
            case RunOptions() as real:
                wanted = dataclasses.replace(real, policy=leg.policy, record=record, seed=options.seed)
                _ended(run(wanted, screen).code, leg)
                yield Done(leg, record, measured)


def _ended(code: int, leg: Leg) -> None:
    if code >= STOPPED:
        raise StoppedError(code)
    if code:
        raise LaunchError(f"the run with {leg.label} failed, so there is nothing to compare. What it printed is above.")


def _last(record: Path) -> float:
    """The virtual time of a record's last line."""
    with record_path(record).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        line = decode_line(file.read().splitlines(keepends=True)[-1], 0)
    return 0.0 if isinstance(line, BrokenLine) else line.t
