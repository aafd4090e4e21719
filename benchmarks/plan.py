"""What is measured, in which order, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .clusters import Cluster
from .clusters import find as find_cluster
from .systems import LIMIT, System
from .systems import find as find_system

SIZES = (8, 16, 32, 64, 128)
"""Micro-batches among which each host's best makes the limit."""

WARM = 1.5
"""Seconds from the first sign of progress to the measured time."""

START_S = {"limit": 7.0, "evener": 11.0, "ddp": 8.0, "local_sgd": 8.0, "torchft": 13.0, "hivemind": 22.0}
"""Seconds by runner from the start of four hosts on two cores until all have got something done, and to end them."""

LUMPS_S = {"hivemind": 16.0, "torchft": 4.0, "local_sgd": 4.0}
"""Seconds by runner that are measured at least, where samples count in lumps; an estimate."""

CALIBRATION_S = 25.0
"""Seconds that all sizes take, where the limit is measured for the first time."""


@dataclass(frozen=True, slots=True)
class Block:
    """Systems compared with each other on one cluster.

    Attributes:
        seconds: measured, each time.
        per_host: samples of the batch for each host.
        repetitions: of each system; the limit is measured before, between and after.
    """

    cluster: Cluster
    workload: str
    systems: tuple[System, ...]
    per_host: int
    repetitions: int
    seconds: float

    def order(self) -> Iterator[tuple[int, System]]:
        """Repetition and system, interleaved: every other repetition runs backwards, so that drift favours nobody."""
        for repetition in range(self.repetitions):
            yield repetition, LIMIT
            systems = self.systems if repetition % 2 == 0 else self.systems[::-1]
            middle = (len(systems) + 1) // 2
            for place, system in enumerate(systems):
                if place == middle and len(systems) > MANY:
                    yield repetition, LIMIT
                yield repetition, system
        yield self.repetitions, LIMIT

    def window(self, system: System) -> float:
        """Seconds for which ``system`` is measured."""
        return self.seconds * self.cluster.stretch

    def estimate(self) -> float:
        """Seconds it will take."""
        hosts = len(self.cluster.shares) / 4
        return CALIBRATION_S + sum(
            START_S[system.runner] * hosts + WARM + max(self.window(system), LUMPS_S.get(system.runner, 0.0))
            for _, system in self.order()
        )


MANY = 4
"""With more systems than this, the limit is measured in the middle of a repetition, too."""


PER_HOST = {"small": 128, "wearable": 64}
"""Samples of the batch for each host, by workload."""


def block(
    cluster: str, workload: str, systems: Sequence[str], repetitions: int, seconds: float, per_host: int = 0
) -> Block:
    """A block, by names; ``per_host`` 0: the workload's own.

    Raises:
        ValueError: a name is unknown.
    """
    if workload not in PER_HOST:
        raise ValueError(f"there is no workload '{workload}'. Choose from: {', '.join(PER_HOST)}.")
    chosen = tuple(map(find_system, systems))
    return Block(find_cluster(cluster), workload, chosen, per_host or PER_HOST[workload], repetitions, seconds)


MAIN = ("balanced", "synchronous", "ddp", "ddp-oracle", "local-sgd")
POLICIES = ("balanced-0", "asynchronous", "stale", "dynamic", "delayed")
PEERS = ("torchft-local-sgd", "torchft-diloco", "hivemind", "hivemind-delayed")
FEW = ("balanced", "ddp", "ddp-oracle", "local-sgd")

PLANS = {
    "full": (
        block("8-4-2-1", "small", MAIN, 3, 6),
        block("8-4-2-1", "small", (*POLICIES, *PEERS), 2, 6),
        block("8-4-2-1", "wearable", FEW, 2, 8),
        block("straggler", "small", FEW, 2, 8),
        block("eight", "small", FEW, 1, 8),
        block("100-mbit", "wearable", FEW, 2, 8),
        block("far", "wearable", ("balanced", "ddp-oracle", "local-sgd"), 1, 8),
        block("rotating", "wearable", ("balanced", "ddp-oracle"), 2, 10),
        block("death", "wearable", ("balanced", "torchft-local-sgd"), 2, 10),
    ),
    "quick": (block("8-4-2-1", "small", ("balanced", "ddp"), 2, 6),),
}
"""By name. The second block of a cluster and workload goes into the same table as the first."""


def shorten(blocks: Sequence[Block], factor: float) -> tuple[Block, ...]:
    """The same, measured for a part of the time each."""
    return tuple(replace(one, seconds=one.seconds * factor) for one in blocks)


def estimate(blocks: Sequence[Block]) -> float:
    """Seconds that all of it will take."""
    return sum(one.estimate() for one in blocks)


def parts(batch: int, rates: Sequence[float], least: int = 1) -> tuple[int, ...]:
    """The batch divided among hosts in proportion to their rates, by largest remainders.

    >>> parts(512, [8, 4, 2, 1]), parts(10, [1, 1, 1], least=2)
    ((273, 137, 68, 34), (4, 3, 3))
    """
    if batch < least * len(rates):
        raise ValueError(f"a batch of {batch} gives {len(rates)} hosts less than {least} samples each")
    exact = [batch * rate / sum(rates) for rate in rates]
    whole = [max(least, int(share)) for share in exact]
    while sum(whole) < batch:
        whole[max(range(len(rates)), key=lambda host: exact[host] - whole[host])] += 1
    while sum(whole) > batch:
        whole[max(range(len(rates)), key=lambda host: whole[host])] -= 1
    return tuple(whole)
