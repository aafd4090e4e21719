"""Simulated weeks in which workers come and go by the thousand: does the coordinator's memory stay what it was?

``python -m evener.testing.endurance`` runs them under each policy; ``make weeks``.
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import sys
import time
import types
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import POLICIES, Policy
from ..core.state import Settings
from ..simulation.cluster import Cluster, Host
from ..simulation.drive import Simulation

DAY = 86400.0

LOOKS = 40
"""How often memory is measured, evenly over the deaths."""

GROWTH = 1.25
"""By how much what is kept may vary: a step that is half full has fewer tickets than a full one."""

_LEFT_OUT = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def kept(root: object) -> tuple[int, int]:
    """How many objects ``root`` keeps alive, itself included, and their bytes; classes and functions are not its own.

    >>> few, many = [[0.5]], [[0.5 + number] for number in range(100)]
    >>> kept(few)[0], kept(many)[0]
    (3, 201)
    """
    seen: dict[int, object] = {id(root): root}
    front = [root]
    size = 0
    while front:
        one = front.pop()
        size += sys.getsizeof(one)
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, _LEFT_OUT):
                seen[id(other)] = other
                front.append(other)
    return len(seen), size


def team(days: float, lives: float, at_once: int = 6, pace: float = 0.5, seed: int = 0) -> Cluster:
    """One host that stays, and places for others who each live for ``lives`` days in the mean, and are replaced.

    Every replacement is a worker with a number of its own. ``pace`` is that of the fastest, in samples/s.
    """
    chance = random.Random(f"endurance {seed}")
    hosts = [Host(pace, overhead=0.0, noise=0.1)]
    for place in range(at_once - 1):
        now = 0.0
        while now < days * DAY:
            dies = now + chance.expovariate(1 / (lives * DAY))
            own = pace / 2 ** (place % 3)
            stall = (now + chance.uniform(0.0, dies - now), chance.expovariate(10 / (lives * DAY)))
            hosts.append(Host(own, overhead=0.0, noise=0.2, joins=now, dies=dies, stalls=(stall,)))
            now = dies + chance.expovariate(10 / (lives * DAY))
    return Cluster(tuple(hosts), seed=seed)


@dataclass
class Endured:
    """What came of it. ``looks``: (days, objects, bytes) that the coordinator kept."""

    days: float = 0.0
    joins: int = 0
    deaths: int = 0
    steps: int = 0
    looks: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The most that was kept in the last quarter, as a multiple of the most in the second; infinite: too short."""
        quarter = len(self.looks) // 4
        if quarter < 2:
            return math.inf  # too short to tell
        second, last = self.looks[quarter : 2 * quarter], self.looks[-quarter:]
        return max(look[2] for look in last) / max(look[2] for look in second)

    def __str__(self) -> str:
        most = max((look[2] for look in self.looks), default=0)
        return (
            f"{self.days:.1f} days, {self.joins} joins, {self.deaths} deaths, {self.steps} steps; the coordinator kept "
            f"{most / 1000:.0f} kB at most, last quarter over second: {self.growth:.2f}"
        )


def endure(cluster: Cluster, policy: Policy, days: float, batch: int = 64, seconds: float = float("inf")) -> Endured:
    """Simulate so many days, or as many as ``seconds`` of real time allow."""
    found = Endured()
    every = max(1, len(cluster.hosts) // LOOKS)
    until = time.monotonic() + seconds

    def look(coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        found.joins += isinstance(event, e.Joined)
        found.steps += sum(isinstance(command, c.Step) for command in commands)
        if isinstance(event, e.Left):
            found.deaths += 1
            if found.deaths % every == 0:
                found.looks.append((now / DAY, *kept(coordinator)))

    # An epoch is about two hours of work for all; more of them than there can be.
    settings = Settings(batch, epochs=int(24 * days) + 24, workers=1)
    positions = int(DAY / 12 * sum(host.pace for host in cluster.hosts[:6]))
    simulation = Simulation(cluster, settings, policy, positions, look, keep_log=False)
    for number, _ in enumerate(simulation.work(float("inf"))):
        found.days = simulation.now / DAY
        if found.days >= days or (number % 1000 == 0 and time.monotonic() > until):
            break
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run each policy for its part of the time; 1 if one keeps more and more."""
    parser = argparse.ArgumentParser(prog="python -m evener.testing.endurance", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--days", type=float, default=28.0, help="virtual days for each policy, at most (default: 28)")
    add("--lives", type=float, default=0.1, help="days that a worker lives, in the mean (default: 0.1)")
    add("--minutes", type=float, default=60.0, help="real minutes for all (default: 60)")
    add("--policy", choices=POLICIES, action="append", help="this one (default: all)")
    options = parser.parse_args(arguments)
    names = options.policy or list(POLICIES)
    cluster = team(options.days, options.lives)
    worse = 0
    for name in names:
        found = endure(cluster, POLICIES[name](), options.days, seconds=60 * options.minutes / len(names))
        worse += found.growth > GROWTH
        print(f"{name:13} {found}{'  GROWS' if found.growth > GROWTH else ''}", flush=True)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
