"""What is measured, in which order, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .clusters import Cluster
from .clusters import find as find_cluster
from .systems import LIMIT, System
from .systems import find as find_system

SIZES = {"small": (8, 16, 32, 64, 128), "wearable": (8, 16, 32, 64, 128), "resnet20": (8, 16, 32, 64)}
"""By workload, the micro-batches among which each host's best makes the limit."""

PER_HOST = {"small": 128, "wearable": 64, "resnet20": 64}
"""By workload, samples of the batch for each host, where nothing else is said."""

SEVERAL = ("evener", "limit")
"""Runners of which a host may have several processes."""

WARM = 1.5
"""Seconds from the first sign of progress to the measured time."""

START_S = {
    "limit": 5.5, "evener": 11.0, "ddp": 8.0, "local_sgd": 8.0, "plain": 8.0, "torchft": 13.0, "hivemind": 22.0
}  # fmt: skip
"""Seconds by runner from the start of four hosts on two cores until all have got something done, and to end them."""

ALONE = 0.5
"""Of that, what a single host takes at least."""

HEAVY_S = {"resnet20": 4.0}
"""Seconds by workload that starting takes in addition: warming up is more work."""

SLOW_S = 0.05
"""Core-seconds that joining costs: what the slowest host needs for them is waited for."""

LUMPS = 4.0
"""So many times :attr:`System.least_s` until enough has counted; an estimate."""

LUMPS_S = {"hivemind": 16.0, "torchft": 4.0, "local_sgd": 4.0}
"""Seconds by runner that are measured at least, where samples count in lumps; an estimate."""

CALIBRATION_S = {"small": 10.0, "wearable": 25.0, "resnet20": 30.0}
"""Seconds by workload that all sizes take, where the limit is measured for the first time."""

LIMIT_S = 8.0
"""Seconds that suffice for the limit where nothing changes: every micro-batch counts as it is done."""

MANY = 6
"""With more systems than this, the limit is measured in the middle of a repetition, too."""


@dataclass(frozen=True, slots=True)
class Block:
    """Systems compared with each other on one cluster.

    Attributes:
        batch: samples of a step, over all hosts.
        repetitions: of each system.
        seconds: measured, each time.
        limit_every: the limit is measured before every so many repetitions, and in the end; 0: never, which suffices
            where systems are only held against each other, repetition by repetition.
        keys: whether evener's connections are encrypted; ``None``: as the cluster says.
    """

    cluster: Cluster
    workload: str
    systems: tuple[System, ...]
    batch: int
    repetitions: int
    seconds: float
    limit_every: int = 1
    keys: bool | None = None

    def __post_init__(self) -> None:
        if self.cluster.processes and (others := [one.title for one in self.systems if one.runner not in SEVERAL]):
            raise ValueError(f"{self.cluster.name}: some hosts have several processes, which is not for {others[0]}")
        if not self.limit_every and any(system.oracle for system in self.systems):
            raise ValueError(f"{self.cluster.name}: an oracle takes its batches from the limit, which is not measured")

    def keyed(self, system: System) -> bool:
        """Whether ``system``'s connections are authenticated and encrypted."""
        return system.runner == "evener" and (self.cluster.keys if self.keys is None else self.keys)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Micro-batches that the limit tries."""
        return SIZES[self.workload]

    @property
    def hosts(self) -> tuple[tuple[float, ...], str]:
        """What the best micro-batches depend on: blocks that have this in common need find them only once."""
        return self.cluster.shares, self.workload

    def order(self) -> Iterator[tuple[int, System]]:
        """Repetition and system, interleaved: every other repetition runs backwards, so that drift favours nobody."""
        for repetition in range(self.repetitions):
            if self.limit_every and repetition % self.limit_every == 0:
                yield repetition, LIMIT
            systems = self.systems if repetition % 2 == 0 else self.systems[::-1]
            middle = (len(systems) + 1) // 2
            for place, system in enumerate(systems):
                if place == middle and len(systems) > MANY and self.limit_every:
                    yield repetition, LIMIT
                yield repetition, system
        if self.limit_every:
            yield self.repetitions, LIMIT

    def window(self, system: System) -> float:
        """Seconds for which ``system`` is measured."""
        seconds = max(self.seconds * self.cluster.stretch, system.least_s)
        return min(seconds, LIMIT_S) if system is LIMIT and not self.cluster.changes else seconds

    def estimate(self) -> float:
        """Seconds it will take, without the calibration."""
        hosts = max(ALONE, len(self.cluster.shares) / 4)
        return sum(
            START_S[system.runner] * hosts
            + HEAVY_S.get(self.workload, 0.0)
            + max(0.0, SLOW_S / self.cluster.shares[-1 - system.leaves_out] - 1.0)
            + WARM
            + max(self.window(system), LUMPS_S.get(system.runner, 0.0), LUMPS * system.least_s)
            for _, system in self.order()
        )


def block(
    cluster: str,
    workload: str,
    systems: Sequence[str],
    repetitions: int,
    seconds: float,
    batch: int = 0,
    limit_every: int = 1,
) -> Block:
    """A block, by names; ``batch`` 0: the workload's own for so many hosts.

    Raises:
        ValueError: a name is unknown, or a system needs a limit that is not measured.
    """
    if workload not in PER_HOST:
        raise ValueError(f"there is no workload '{workload}'. Choose from: {', '.join(PER_HOST)}.")
    found, chosen = find_cluster(cluster), tuple(map(find_system, systems))
    batch = batch or PER_HOST[workload] * len(found.shares)
    return Block(found, workload, chosen, batch, repetitions, seconds, limit_every)


EVENER = ("balanced", "balanced-15", "balanced-25", "balanced-0")
LAYOUT = ("balanced-first", "limit-channels-last")
POLICIES = ("asynchronous", "stale", "dynamic", "delayed")
PEERS = (
    "local-sgd", "local-sgd-equal", "torchft-local-sgd", "torchft-diloco", "torchft-diloco-equal",
    "hivemind", "hivemind-16384", "hivemind-16384-delayed",
)  # fmt: skip
FEW = ("balanced", "ddp", "ddp-oracle", "local-sgd")

PLANS = {
    "full": (
        block("8-4-2-1", "small", (*EVENER, "ddp", "ddp-oracle"), 3, 6),
        block("8-4-2-1", "small", ("synchronous", *PEERS), 1, 6),
        block("8-4-2-1", "small", LAYOUT, 2, 5, limit_every=2),
        block("8-4-2-1", "small", ("balanced", "ddp-oracle"), 3, 6, batch=256, limit_every=3),
        block("rotating", "small", ("balanced-20",), 2, 20, limit_every=2),
        block("stalls", "small", ("balanced-20",), 2, 20, limit_every=2),
        block("access", "small", ("balanced-free",), 2, 8, batch=1024, limit_every=2),
        block("8-4-2-1", "resnet20", ("balanced-10", "balanced-0"), 3, 14),
        block("8-4-2-1", "resnet20", ("limit-channels-last",), 1, 8),
        block("straggler", "small", ("balanced", "ddp"), 3, 6, limit_every=3),
        block("equal", "small", ("balanced", "ddp"), 3, 6, limit_every=0),
        block("one", "small", ("balanced", "plain"), 3, 6, batch=512, limit_every=3),
        block("fifth", "small", ("balanced", "balanced-without"), 7, 5, batch=512, limit_every=0),
    ),
    "others": (
        block("8-4-2-1", "small", ("balanced", "synchronous", *POLICIES), 2, 6),
        block("8-4-2-1", "wearable", FEW, 2, 8),
        block("eight", "small", FEW, 1, 8),
        block("100-mbit", "wearable", FEW, 2, 8),
        block("far", "wearable", ("balanced", "ddp-oracle", "local-sgd"), 1, 8),
        block("rotating", "wearable", ("balanced", "ddp-oracle"), 2, 10),
        block("death", "wearable", ("balanced", "torchft-local-sgd"), 2, 10),
    ),
    "quick": (block("8-4-2-1", "small", ("balanced", "ddp"), 2, 6),),
}
"""By name. The second block of a cluster, workload and batch goes into the same table as the first."""


def shorten(blocks: Sequence[Block], factor: float) -> tuple[Block, ...]:
    """The same, measured for a part of the time each."""
    return tuple(replace(one, seconds=one.seconds * factor) for one in blocks)


def estimate(blocks: Sequence[Block]) -> float:
    """Seconds that all of it will take."""
    calibrated = {one.hosts for one in blocks if one.limit_every}
    return sum(one.estimate() for one in blocks) + sum(CALIBRATION_S[workload] for _, workload in calibrated)


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
