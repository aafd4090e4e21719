"""The predictions: a cluster from profiles and what is known of it beforehand, or from a record; and its simulation."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import clusters
from benchmarks.plan import WARM
from benchmarks.progress import Curve
from benchmarks.systems import find
from benchmarks.workloads import EPOCH
from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.conditions import conditions
from evener.simulation.drive import Simulation
from evener.simulation.links import Link
from evener.simulation.profile import Profile
from evener.trace import read
from evener.trace.schema import EventLine

from .plan import Case

BEGUN = 0.3
"""Seconds from a run's beginning to its first step, in a prediction from profiles; what is measured begins later."""

SEEDS = 3
"""Simulations, of which the median counts."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is measured of a run: ``seconds`` from ``start`` on, after its first epoch began."""

    start: float
    seconds: float


def simulated(cluster: Cluster, policy: str, batch: int, window: Window) -> tuple[float, ...]:
    """Samples/s that count within a window, by host: the median of some simulations."""
    rates = [_once(dataclasses.replace(cluster, seed=seed), policy, batch, window) for seed in range(SEEDS)]
    return sorted(rates, key=sum)[SEEDS // 2]


def _once(cluster: Cluster, policy: str, batch: int, window: Window) -> tuple[float, ...]:
    curves: dict[int, Curve] = defaultdict(Curve)

    def watch(coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        for command in commands:
            if isinstance(command, c.Accumulate):
                curves[command.worker].add(now, command.samples)

    settings = Settings(batch, epochs=10_000, workers=cluster.at_start)
    options = {name: value for name, value in find(policy).options.items() if name != "policy"}
    chosen = POLICIES[str(find(policy).options["policy"])](**options)
    simulation = Simulation(cluster, settings, chosen, EPOCH, observer=watch, keep_log=False)
    # A little beyond the window: what counts next was computed within it.
    for _ in simulation.work():
        if simulation.now > window.start + 1.5 * window.seconds:
            break
    stop = window.start + window.seconds
    return tuple(curves[host].between(window.start, stop) / window.seconds for host in range(len(cluster.hosts)))


# From profiles ----------------------------------------------------------------------------------------------


def window_of(case: Case, factor: float) -> Window:
    """The window of a prediction from profiles."""
    return Window(BEGUN + WARM, factor * case.seconds)


def from_profiles(case: Case, found: Sequence[Profile], window: Window, joined: float | None) -> Cluster:
    """The cluster file that a user would write.

    Args:
        case: whose links, and what happens to its hosts, are known.
        found: by host; the last is the server's.
        window: at whose parts things happen.
        joined: when a host that was started again had joined, in seconds; ``None``: nothing is.
    """
    hosts = [profile.cluster().hosts[0] for profile in found[:-1]]
    base = found[-1].cluster()
    by_share = dict(zip(case.cluster.shares, hosts, strict=True))
    link, server = _link(case.cluster.link), _link(case.cluster.links[-1])
    ready = [
        dataclasses.replace(_changed(case, host, at, by_share, window), link=link) for at, host in enumerate(hosts)
    ]
    for one in case.cluster.happenings:
        if one.what == "start":
            assert joined is not None, "somebody is started, so somebody joined"
            ready.append(dataclasses.replace(ready[one.host], joins=joined, dies=None))
    return dataclasses.replace(
        base, hosts=tuple(ready), server=server, parameters=found[0].transfers.pull_bytes if link else 0
    )


def _changed(case: Case, host: Host, number: int, by_share: dict[float, Host], window: Window) -> Host:
    """A host, and what happens to it."""
    mine = [one for one in case.cluster.happenings if one.host == number]
    times = {id(one): window.start + one.at * window.seconds for one in mine}
    paces = tuple((times[id(one)], by_share[one.share].pace) for one in mine if one.what == "speed")
    dies = next((times[id(one)] for one in mine if one.what == "kill"), None)
    return dataclasses.replace(host, paces=paces, dies=dies)


def _link(link: clusters.Link) -> Link | None:
    if not (link.rate_mbit or link.delay_ms):
        return None
    rate = link.rate_mbit * 1e6 or None
    return Link(up=rate, down=rate, delay=link.delay_ms / 1000)


# From a record ----------------------------------------------------------------------------------------------


def from_record(folder: Path) -> Cluster:
    """The machines of a recorded run, as ``evener simulate --from`` takes them."""
    return conditions(folder).cluster


def origin(folder: Path) -> float:
    """When a recorded run's first epoch began, by the record's clock."""
    return next(line.t for line in read(folder) if isinstance(line, EventLine) and isinstance(line.event, e.EpochDrawn))


def joined_last(folder: Path) -> float:
    """When somebody joined a recorded run for the last time, in seconds after its first epoch began."""
    joins = [line.t for line in read(folder) if isinstance(line, EventLine) and isinstance(line.event, e.Joined)]
    return joins[-1] - origin(folder)


def median(values: Sequence[float]) -> float:
    """Of none: 0."""
    return statistics.median(values) if values else 0.0
