"""One measurement: so many contributions of one policy on one cluster, with timing alone; prints what it took.

In a process of its own (``python -m benchmarks.simulator.measure``), so that memory is its own, too.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation

PACES = (800.0, 400.0, 200.0, 100.0)
"""Samples/s of the hosts, in turn."""

NOISE = 0.1
"""Standard deviation of the logarithm of a micro-batch's duration."""

LOOK = 200
"""Micro-batches between two looks at what has been done, at most; where steps are counted, under one for every fourth
worker."""


WITHOUT: dict[str, dict[str, float]] = {
    "noise": {"noise": 0.0},
    "transfers": {"uplink": 0.0, "downlink": 0.0, "latency": 0.0},
    "overhead": {"overhead": 0.0},
    "steps": {},
}
"""What can be left out, to see what it costs: what of a host is 0 then (``steps``: the server's time for one)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is simulated, until it has made ``contributions``, or ``steps`` (0: no matter how many), or ``budget``
    CPU seconds are spent. The first ``warm`` steps do not count for utilisation and staleness: workers are not known
    yet. ``without`` is one of :data:`WITHOUT`, all of them, or nothing."""

    policy: str
    workers: int
    batch: int
    contributions: int = 1_000_000
    steps: int = 0
    budget: float = 120.0
    step_seconds: float = 0.001
    warm: int = 0
    without: str = ""

    @property
    def cluster(self) -> Cluster:
        """The hosts, and the server's time for a step."""
        left_out = set(WITHOUT) if self.without == "all" else {self.without} - {""}
        changes: dict[str, Any] = {"noise": NOISE}
        for name in left_out:
            changes |= WITHOUT[name]
        hosts = tuple(Host(PACES[worker % len(PACES)], **changes) for worker in range(self.workers))
        return Cluster(hosts, step_seconds=0.0 if "steps" in left_out else self.step_seconds)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        contributions, steps: made. ``counted``: steps that utilisation and staleness are the mean of.
        seconds: of CPU.
        mebibytes: the process's peak.
        utilisation: samples/s by the sum of the paces. ``stale``: share of the samples.
    """

    policy: str
    workers: int
    batch: int
    contributions: int
    steps: int
    seconds: float
    mebibytes: float
    utilisation: float
    stale: float
    counted: int = 0
    without: str = ""

    @property
    def microseconds(self) -> float:
        """Of each contribution."""
        return 1e6 * self.seconds / self.contributions if self.contributions else math.nan


@dataclass(frozen=True, slots=True)
class Standing:
    """What was done when so many steps were made."""

    steps: int = 0
    applied: int = 0
    stale: int = 0
    seconds: float = 0.0


def simulate(cell: Cell) -> Result:
    """Measure it, here."""
    settings = Settings(cell.batch, 1_000_000, workers=cell.workers)
    positions = cell.batch * max(100, 1_000_000 // cell.batch)
    simulation = Simulation(cell.cluster, settings, POLICIES[cell.policy](), positions, keep_log=False)
    outcome = simulation.outcome
    gc.disable()  # as the command does
    work = simulation.work(limit=math.inf)
    begun = time.process_time()
    look = max(1, min(LOOK, cell.workers // 4)) if cell.steps else LOOK
    warm, last = Standing(), Standing()
    while sum(1 for _ in islice(work, look)):
        if outcome.steps > last.steps:  # what is applied after a step is of the next, whose time is not known yet
            last = Standing(outcome.steps, outcome.applied, outcome.stale, outcome.seconds)
        if not warm.steps and 0 < cell.warm <= last.steps:
            warm = last
        enough = outcome.contributions >= cell.contributions or 0 < cell.steps <= outcome.steps
        if enough or time.process_time() - begun > cell.budget:
            break
    applied, seconds = last.applied - warm.applied, last.seconds - warm.seconds
    return Result(
        cell.policy,
        cell.workers,
        cell.batch,
        outcome.contributions,
        outcome.steps,
        time.process_time() - begun,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        applied / seconds / sum(host.pace for host in cell.cluster.hosts) if seconds else 0.0,
        (last.stale - warm.stale) / applied if applied else 0.0,
        last.steps - warm.steps,
        cell.without,
    )


def measure(cell: Cell) -> Result:
    """Measure it, in a process of its own.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.simulator.measure", json.dumps(dataclasses.asdict(cell))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Result(**json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(simulate(Cell(**json.loads(sys.argv[1]))))))
