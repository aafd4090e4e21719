"""Real processes beside the simulation: the same runs with ``evener run``, and simulated on hosts that behave so.

Paces, overheads, noise and transfer times are fitted to the records of some of the real runs; then all of them are
simulated on that cluster. So what is tested is whether the simulator gets from hosts to a run's course, not whether
its hosts were guessed well.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evener.core import commands as c
from evener.core import events as e
from evener.simulation.cluster import Host
from evener.trace import EventLine, read

from . import clusters
from .cells import Study
from .grid import BASE, GRADED, HAR, Run, chosen
from .results import Result, Store
from .run import Plan
from .tables import Pair, table

POLICIES = ("synchronous", "asynchronous", "delayed", "balanced S=0", "balanced 10%")
"""What is run for real; ``stale`` and ``dynamic`` take as long as ``synchronous`` and tell no more."""

FITTED = ("synchronous", "balanced S=0", "balanced 10%")
"""The runs that hosts are fitted to: in the first all hosts compute, and the others have micro-batches of all sizes."""

AS_MEASURED = f"{GRADED}, as measured"


def planned(rate: float) -> list[Run]:
    """The real runs, one after the other."""
    return [Run(HAR, GRADED, policy, rate, 0, place="real") for policy in POLICIES]


def twins(rate: float, hosts: Sequence[Host]) -> list[Run]:
    """The same, simulated on ``hosts``."""
    return [Run(HAR, AS_MEASURED, policy, rate, 0, hosts=tuple(hosts)) for policy in POLICIES]


def record_of(run: Run, store: Store) -> Path:
    """Where the record of a real run is kept."""
    return store.folder.with_name("real") / run.key


def carry_out(rate: float, store: Store, work: Callable[[Plan, int], dict[str, str]]) -> dict[str, str]:
    """The real runs one at a time, then their twins; ``work`` carries a plan out, so many at a time.

    Returns:
        Key → why, of the runs that failed.
    """
    failed = work(lambda _: planned(rate), 1)
    if failed:
        return failed
    hosts = fit([record_of(run, store) for run in planned(rate) if run.policy in FITTED])
    wanted = twins(rate, hosts)
    store.drop(
        old.key
        for old in Study(list(store.all())).placed("simulated", AS_MEASURED)
        if old.key not in {run.key for run in wanted}
    )
    return work(lambda _: wanted, 2)


def pairs(study: Study) -> list[Pair]:
    """(policy, real, simulated) of what is there."""
    rate = chosen(HAR, GRADED, BASE, study.scores)
    simulated = study.placed("simulated", AS_MEASURED)
    found = []
    for run in planned(rate) if rate is not None else []:
        done = study.results.get(run.key)
        same = [one for one in simulated if done is not None and _same(one, done)]
        if done is not None and same:
            found.append((run.policy, done, same[0]))
    return found


def _same(one: Result, other: Result) -> bool:
    return all(one.spec[name] == other.spec[name] for name in ("arguments", "policy", "options", "seed"))


def described(pairs: Sequence[Pair]) -> str:
    """The hosts that the twins ran on, as a table."""
    hosts = [Host(**host) for host in pairs[0][2].spec["cluster"]["hosts"]]
    rows = [
        [
            f"{number}",
            f"{host.pace:.0f}",
            *(f"{1000 * seconds:.1f}" for seconds in (host.overhead, host.uplink, host.downlink)),
            f"{host.noise:.2f}",
        ]
        for number, host in enumerate(hosts)
    ]
    return table(["host", "pace, samples/s", "overhead, ms", "uplink, ms", "downlink, ms", "noise"], rows)


# Fitting hosts to records ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Seen:
    """Of one worker, in seconds."""

    computed: list[tuple[int, float]] = field(default_factory=list)
    uplinks: list[float] = field(default_factory=list)
    downlinks: list[float] = field(default_factory=list)
    last: float = math.nan

    def host(self) -> Host:
        """A host that behaves so: least squares of seconds over samples, relative errors."""
        weights = [1 / seconds**2 for _, seconds in self.computed]
        total = sum(weights)
        x = sum(w * size for w, (size, _) in zip(weights, self.computed, strict=True)) / total
        y = sum(w * seconds for w, (_, seconds) in zip(weights, self.computed, strict=True)) / total
        above = sum(w * (size - x) * (seconds - y) for w, (size, seconds) in zip(weights, self.computed, strict=True))
        below = sum(w * (size - x) ** 2 for w, (size, _) in zip(weights, self.computed, strict=True))
        slope = above / below if below else y / x
        slope = min(slope, y / x)  # an overhead is not negative
        overhead = y - slope * x
        errors = [math.log(seconds / (overhead + slope * size)) for size, seconds in self.computed]
        return Host(
            round(1 / slope, 1),
            overhead=round(overhead, 5),
            noise=round(statistics.pstdev(errors), 3),
            uplink=round(statistics.mean(self.uplinks), 5),
            downlink=round(statistics.mean(self.downlinks), 5),
            latency=clusters.LATENCY,
        )


def fit(records: Sequence[Path]) -> tuple[Host, ...]:
    """The hosts that the records of real runs show, by worker.

    An uplink is the time from a worker's report that it finished to the arrival of its push; a downlink that from
    the publication of parameters to the report that they are there.
    """
    workers: dict[int, _Seen] = defaultdict(_Seen)
    for record in records:
        sizes: dict[int, int] = {}
        published: dict[int, float] = {}
        for line in read(record):
            if not isinstance(line, EventLine):
                continue
            match line.event:
                case e.Computed(worker, ticket, seconds) if seconds > 0 and ticket in sizes:
                    workers[worker].computed.append((sizes[ticket], seconds))
                    workers[worker].last = line.t
                case e.Arrived(worker):
                    workers[worker].uplinks.append(line.t - workers[worker].last)
                case e.Received(worker, version) if version in published:
                    workers[worker].downlinks.append(line.t - published[version])
                case _:
                    pass
            for command in line.commands:
                match command:
                    case c.Grant(ticket=ticket, ranges=ranges):
                        sizes[ticket] = sum(stop - start for start, stop in ranges)
                    case c.Publish(version):
                        published[version] = line.t
                    case _:
                        pass
    return tuple(workers[worker].host() for worker in sorted(workers))
