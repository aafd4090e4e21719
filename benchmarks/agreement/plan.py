"""What is measured and predicted, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.clusters import UNEQUAL, Cluster, Happening, Link, rotation
from benchmarks.clusters import find as find_cluster
from benchmarks.plan import WARM
from benchmarks.systems import System
from benchmarks.systems import find as find_system

POLICIES = ("balanced", "synchronous", "asynchronous")
SOURCE = "balanced"
"""The policy from whose records the others are predicted: its micro-batches differ in size, so they tell most."""

WORKLOAD = "small"
PROFILE_S = 6.0
"""Seconds of computing in a profile; with the rest, and the slowest host's rounds, some eleven."""

START_S = 9.0
PROFILED_S = 17.0
"""Seconds until a run's hosts have begun, and that a profile takes, starting included; estimates."""

LINKED = Cluster(
    "100-mbit-10-ms",
    "speeds 8:4:2:1, links of 100 Mbit/s and 10 ms there and back, the server's of 1 Gbit/s",
    UNEQUAL,
    Link(rate_mbit=100, delay_ms=5),
    server=Link(rate_mbit=1000),
    frame=16_000,
)
ROTATING = Cluster(
    "rotating",
    "speeds 8:4:2:1, moving on by one host every quarter of the time",
    UNEQUAL,
    happenings=rotation(UNEQUAL),
)
DEATH = Cluster(
    "death-and-join",
    "speeds 8:4:2:1; the second host dies at a quarter of the time, and is started again at a third",
    UNEQUAL,
    happenings=(Happening(1 / 4, 1, "kill"), Happening(1 / 3, 1, "start")),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A cluster on which policies are measured, and predicted.

    Attributes:
        cluster: which.
        batch: samples of a step.
        seconds: measured, each time.
    """

    cluster: Cluster
    batch: int = 512
    seconds: float = 7.0

    @property
    def systems(self) -> tuple[System, ...]:
        """Each policy, with its default options."""
        return tuple(map(find_system, POLICIES))

    def order(self, repetitions: int) -> Iterator[tuple[int, System]]:
        """Repetition and policy, interleaved; every other repetition runs backwards, so that drift favours nobody."""
        for repetition in range(repetitions):
            for system in self.systems if repetition % 2 == 0 else self.systems[::-1]:
                yield repetition, system

    def estimate(self, repetitions: int, factor: float) -> float:
        """Seconds it takes."""
        return PROFILED_S + repetitions * len(POLICIES) * (START_S + WARM + factor * self.seconds)


CASES = (
    Case(find_cluster("8-4-2-1")),
    Case(find_cluster("equal")),
    Case(find_cluster("straggler")),
    Case(ROTATING, seconds=16.0),
    Case(LINKED, batch=1024),
    Case(DEATH, seconds=15.0),
)


def chosen(names: Sequence[str]) -> tuple[Case, ...]:
    """The cases of these clusters; all of them, if none is named.

    Raises:
        ValueError: there is no such cluster here.
    """
    known = {case.cluster.name: case for case in CASES}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no cluster '{name}' here. Choose from: {', '.join(known)}.")
    return tuple(case for name, case in known.items() if not names or name in names)
