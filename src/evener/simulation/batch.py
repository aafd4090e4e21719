"""Is the batch large enough for so many workers? Found out by simulating some steps of each, with timing alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import Policy
from ..core.state import Settings
from .cluster import Cluster
from .drive import Simulation, Stuck
from .limit import limit

STEPS = 24
"""Steps of a batch that are simulated."""

WORTHWHILE = 1.1
"""A batch is too small if another one has this multiple of its throughput."""

NEARLY = 0.95
"""A batch that has this part of the throughput of the largest will do."""

WELL = 0.75
"""A batch that leaves more than a quarter of what the workers could compute unused is no remedy."""

DOUBLINGS = 6
"""Batches of up to 2 to this power times the one at hand are tried."""

MOST_HOSTS = 256
"""With more hosts it is not looked into: the simulations would take longer than people wait."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch comes to: samples/s, part of the limit, and who sat out."""

    batch: int
    samples_per_second: float
    utilisation: float
    sits_out: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TooSmall:
    """The batch is too small for the workers; ``enough`` would do."""

    now: Step
    enough: Step

    def __str__(self) -> str:
        sits = self.now.sits_out
        if sits:
            some = ", ".join(map(str, sits[:8])) + (", …" if len(sits) > 8 else "")
            who = f", and worker{'s' if len(sits) > 1 else ''} {some} would sit out"
        else:
            who = ""
        what = f"the batch of {self.now.batch} is too small for these workers: they would compute "
        what += f"{self.now.utilisation:.0%} of what they could{who}. By simulation with timing alone, "
        enough = f"a batch of {self.enough.batch}"
        if self.enough.utilisation < WELL:
            return f"{what}even {enough} brings no more than {self.enough.utilisation:.0%}: transfers take too long"
        return f"{what}{enough} would do: {self.enough.utilisation:.0%}"


def too_small(cluster: Cluster, batch: int, policy: Callable[[], Policy]) -> TooSmall | None:
    """Whether ``batch`` is too small for the cluster, and which would do; ``None``: it is not, or there is no saying.

    Hosts are taken as if all were there all the time: it is about their number and their paces.

    Args:
        cluster: the workers.
        batch: samples per step.
        policy: makes a fresh one.
    """
    if len(cluster.hosts) > MOST_HOSTS:
        return None
    hosts = tuple(dataclasses.replace(host, joins=0.0, dies=None, stalls=()) for host in cluster.hosts)
    steady = dataclasses.replace(cluster, hosts=hosts)
    found: list[Step] = []
    for doubling in range(DOUBLINGS + 1):
        try:
            found.append(_try(steady, batch << doubling, policy()))
        except (Stuck, ValueError):
            break
        if doubling > 1 and not found[-1].sits_out and found[-1].utilisation < found[-2].utilisation / NEARLY:
            break  # no more is to be had
    if not found:
        return None
    now, best = found[0], max(found, key=lambda one: one.utilisation)
    if best.utilisation < WORTHWHILE * now.utilisation:
        return None
    enough = next(one for one in found if one.utilisation >= NEARLY * best.utilisation)
    return TooSmall(now, enough)


def _try(cluster: Cluster, batch: int, policy: Policy) -> Step:
    settings = Settings(batch=batch, epochs=1, workers=len(cluster.hosts))
    out: set[int] = set()

    def watch(coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        for command in commands:
            if isinstance(command, c.SitOut):
                (out.add if command.why else out.discard)(command.worker)

    outcome = Simulation(cluster, settings, policy, batch * STEPS, observer=watch, keep_log=False).run()
    rate = outcome.samples_per_second
    return Step(batch, rate, rate / limit(cluster, outcome.seconds), tuple(sorted(out)))
