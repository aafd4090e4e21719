"""The clusters, as data: how much of a core each host has, its link, and what happens while it works."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Link:
    """A host's link, the same both ways.

    Attributes:
        rate_mbit: Mbit/s; 0: as fast as the machine copies.
        delay_ms: of this link alone, one way. From one host to another it is paid twice.
        loss: part of the frames that get lost, each way.
    """

    rate_mbit: float = 0.0
    delay_ms: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if self.rate_mbit < 0 or self.delay_ms < 0 or not 0 <= self.loss < 1:
            raise ValueError(f"{self}: rate and delay must not be negative, and loss is a part of 1, below 1")

    @property
    def needs_switch(self) -> bool:
        """Whether the kernel's own rate limit does not suffice."""
        return self.delay_ms > 0 or self.loss > 0


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to a host while a system is being measured.

    Attributes:
        at: when, as a part of the measured time.
        host: its number.
        what: ``speed`` (from now on ``share`` of a core), ``stall`` (all its processes stand still), ``resume`` (they
            go on), ``kill`` (them), ``start`` (them again).
    """

    at: float
    host: int
    what: Literal["speed", "stall", "resume", "kill", "start"]
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster to emulate.

    Attributes:
        name: for the command line and the results.
        title: for people.
        shares: of one core, by host.
        link: every host's, and the server's too unless it has its own: systems without a server must not be at a
            disadvantage.
        each: each host's own link, where they differ.
        server: the server's host's own link.
        frame: bytes of a frame at most, where links go through the switch. It pays for each frame, about 13 CPU
            seconds a GB at 1500 bytes and a third of that at 16,000; network cards join small frames into such ones.
        happenings: in the order of their times.
        keys: evener's connections are authenticated and encrypted (CURVE). The peers' never are.
        processes: on each host; empty: one. They share its part of a core.
        stretch: how many times longer than the others this cluster is measured.
    """

    name: str
    title: str
    shares: tuple[float, ...]
    link: Link = Link()
    server: Link | None = None
    frame: int = 1500
    happenings: tuple[Happening, ...] = ()
    each: tuple[Link, ...] = ()
    keys: bool = False
    processes: tuple[int, ...] = ()
    stretch: float = 1.0

    def __post_init__(self) -> None:
        if sum(self.shares) > MOST_CORES + 1e-9 or min(self.shares) <= 0:
            raise ValueError(f"{self.name}: shares must be positive and come to {MOST_CORES} cores at most")
        if any(not 0 <= one.host < len(self.shares) or not 0 <= one.at < 1 for one in self.happenings):
            raise ValueError(f"{self.name}: something happens to a host, or at a time, that there is not")

        if any(len(by_host) not in (0, len(self.shares)) for by_host in (self.each, self.processes)):
            raise ValueError(f"{self.name}: each host has one link, and one number of processes")

    @property
    def links(self) -> tuple[Link, ...]:
        """By host; the server's is the last."""
        return (*(self.each or [self.link] * len(self.shares)), self.server or self.link)

    @property
    def changes(self) -> bool:
        """Whether anything happens to it."""
        return bool(self.happenings)


MOST_CORES = 1.5
"""What hosts may have together on a machine of two cores. A server, the links and the measuring need the rest."""


def rotation(shares: tuple[float, ...]) -> tuple[Happening, ...]:
    """Each quarter of the time every host takes the speed of the one before it; the sum stays the same.

    >>> [(one.host, one.share) for one in rotation((0.8, 0.2)) if one.at == 0.25]
    [(0, 0.2), (1, 0.8)]
    """
    return tuple(
        Happening(turn / 4, host, "speed", shares[(host - turn) % len(shares)])
        for turn in (1, 2, 3)
        for host in range(len(shares))
    )


def stalls(hosts: int, seed: int, window: float = 40.0, part: float = 0.1) -> tuple[Happening, ...]:
    """Each host stands still for ``part`` of the time, at random moments, for 0.5 to 1.5 s each.

    Lengths come in pairs of 1 - d and 1 + d, so that they make up ``part`` exactly; moments are where as many points
    fall at random into the rest of the time.

    Args:
        hosts: how many.
        seed: the same seed gives the same stalls.
        window: seconds of the measured time.
        part: of it that each host is still.

    >>> found = stalls(1, seed=0)
    >>> at = [40 * one.at for one in found]
    >>> round(sum(at[1::2]) - sum(at[0::2]), 6), {one.what for one in found[::2]}
    (4.0, {'stall'})
    """
    chance = random.Random(seed)
    happenings: list[Happening] = []
    for host in range(hosts):
        halves = [chance.uniform(0.0, 0.5) for _ in range(round(part * window / 2))]
        lengths = [1 + sign * half for half in halves for sign in (-1, 1)]
        chance.shuffle(lengths)
        before = 0.0
        moments = sorted(chance.uniform(0, window - sum(lengths)) for _ in lengths)
        for moment, length in zip(moments, lengths, strict=True):
            happenings.append(Happening((moment + before) / window, host, "stall"))
            before += length
            happenings.append(Happening((moment + before) / window, host, "resume"))
    return tuple(sorted(happenings, key=lambda one: one.at))


def of_cores(cores: float, speeds: tuple[float, ...]) -> tuple[float, ...]:
    """Shares in proportion to speeds, which come to so many cores.

    >>> of_cores(1.5, (4, 1))
    (1.2, 0.3)
    """
    return tuple(round(cores * speed / sum(speeds), 5) for speed in speeds)


UNEQUAL = (0.8, 0.4, 0.2, 0.1)

CLUSTERS = (
    Cluster("8-4-2-1", "speeds 8:4:2:1, fast links", UNEQUAL),
    Cluster("straggler", "speeds 1:1:1:0.1, fast links", (0.45, 0.45, 0.45, 0.045)),
    Cluster(
        "eight",
        "eight hosts, speeds 16:8:8:4:4:2:2:1, links of 100 Mbit/s to 1 Gbit/s and 1 to 20 ms there and back, "
        "the server's of 1 Gbit/s",
        of_cores(1.4, (16, 8, 8, 4, 4, 2, 2, 1)),
        # Quick hosts have slow links, too: whoever is far away is not slow for that.
        each=tuple(
            Link(rate_mbit=rate, delay_ms=there_and_back / 2)
            for rate, there_and_back in (
                (1000, 1),
                (100, 20),
                (500, 5),
                (1000, 2),
                (200, 10),
                (200, 10),
                (100, 20),
                (500, 5),
            )
        ),
        server=Link(rate_mbit=1000),
        frame=16_000,
        keys=True,
    ),
    Cluster(
        "groups",
        "two hosts with two processes each and two with one, speeds 4:3:2:1, fast links",
        of_cores(1.4, (4, 3, 2, 1)),
        processes=(2, 2, 1, 1),
    ),
    Cluster("equal", "four equal hosts, fast links", (0.375,) * 4),
    Cluster("one", "one host, fast links", (0.8,)),
    Cluster("fifth", "speeds 80:40:20:10, and a fifth host of speed 1, fast links", of_cores(1.5, (80, 40, 20, 10, 1))),
    Cluster("100-mbit", "speeds 8:4:2:1, links of 100 Mbit/s", UNEQUAL, Link(rate_mbit=100)),
    Cluster(
        "access",
        "speeds 8:4:2:1, links of 100 Mbit/s and 10 ms there and back, the server's of 1 Gbit/s",
        UNEQUAL,
        Link(rate_mbit=100, delay_ms=5),
        server=Link(rate_mbit=1000),
        frame=16_000,
    ),
    Cluster(
        "far",
        "speeds 8:4:2:1, links of 50 Mbit/s, 5 ms and 0.1% loss",
        UNEQUAL,
        Link(rate_mbit=50, delay_ms=5, loss=0.001),
    ),
    Cluster(
        "rotating",
        "speeds 8:4:2:1, moving on by one host every quarter of the time",
        UNEQUAL,
        happenings=rotation(UNEQUAL),
        stretch=2.0,
    ),
    Cluster(
        "stalls",
        "speeds 8:4:2:1, each host standing still for a tenth of the time, at random, 0.5 to 1.5 s of 40",
        UNEQUAL,
        happenings=stalls(len(UNEQUAL), seed=1),
        stretch=2.0,
    ),
    Cluster(
        "death",
        "speeds 8:4:2:1; the second host dies at a third of the time, and is back at two thirds",
        UNEQUAL,
        happenings=(Happening(1 / 3, 1, "kill"), Happening(2 / 3, 1, "start")),
        stretch=2.0,
    ),
)


def find(name: str) -> Cluster:
    """The cluster of that name.

    Raises:
        ValueError: there is none.
    """
    for cluster in CLUSTERS:
        if cluster.name == name:
            return cluster
    raise ValueError(f"there is no cluster '{name}'. Choose from: {', '.join(one.name for one in CLUSTERS)}.")
