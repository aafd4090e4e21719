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

from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation

PACES = (800.0, 400.0, 200.0, 100.0)
"""Samples/s of the hosts, in turn."""

NOISE = 0.1
"""Standard deviation of the logarithm of a micro-batch's duration."""

LOOK = 200
"""Micro-batches between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is simulated, until it has made ``contributions``, or ``steps`` (0: no matter how many), or ``budget``
    CPU seconds are spent."""

    policy: str
    workers: int
    batch: int
    contributions: int = 1_000_000
    steps: int = 0
    budget: float = 120.0
    step_seconds: float = 0.001


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        contributions, steps: made.
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

    @property
    def microseconds(self) -> float:
        """Of each contribution."""
        return 1e6 * self.seconds / self.contributions if self.contributions else math.nan


def simulate(cell: Cell) -> Result:
    """Measure it, here."""
    hosts = tuple(Host(PACES[worker % len(PACES)], noise=NOISE) for worker in range(cell.workers))
    settings = Settings(cell.batch, 1_000_000, workers=cell.workers)
    positions = cell.batch * max(100, 1_000_000 // cell.batch)
    simulation = Simulation(
        Cluster(hosts, step_seconds=cell.step_seconds), settings, POLICIES[cell.policy](), positions, keep_log=False
    )
    outcome = simulation.outcome
    gc.disable()  # as the command does
    work = simulation.work(limit=math.inf)
    begun = time.process_time()
    while sum(1 for _ in islice(work, LOOK)):
        enough = outcome.contributions >= cell.contributions or 0 < cell.steps <= outcome.steps
        if enough or time.process_time() - begun > cell.budget:
            break
    return Result(
        cell.policy,
        cell.workers,
        cell.batch,
        outcome.contributions,
        outcome.steps,
        time.process_time() - begun,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        outcome.samples_per_second / sum(host.pace for host in hosts),
        outcome.stale_fraction,
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
