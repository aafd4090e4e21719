"""Random clusters and fault schedules, from whatever chooses: a seed here, ``hypothesis`` in ``strategies``."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from ..core.policies import Policy
from ..core.state import Settings
from ..simulation.cluster import Cluster, Host
from ..simulation.drive import Outcome, Simulation
from ._books import promise
from .invariants import Invariants
from .promises import promises_of

T = TypeVar("T")


@dataclass(frozen=True)
class Schedule:
    """All that a simulated run depends on but its policy."""

    cluster: Cluster
    settings: Settings
    positions: int

    def run(self, policy: Policy, watch: bool = True) -> Outcome:
        """Run it to the end under ``policy``, with :class:`~evener.testing.Invariants` unless told otherwise.

        Raises:
            BrokenPromise: something happened that must not.
            Stuck: the run did not end within :meth:`limit`.
        """
        observer = watch_for(self.settings, policy) if watch else None
        run = Simulation(self.cluster, self.settings, policy, self.positions, observer)
        return run.run(self.limit())

    def prove(self, policy: Policy) -> Outcome:
        """Run it, and make sure that it ended as it should: complete, unless nobody contributed in a whole epoch.

        Raises:
            BrokenPromise: something happened that must not, or it ended otherwise.
            Stuck: as :meth:`run` does.
        """
        outcome = self.run(policy)
        promise(outcome.finish is not None, "a run ended without a word")
        assert outcome.finish is not None
        # A short epoch may be refused, or declined, as a whole, by workers that each do so only now and then.
        reason = outcome.finish.reason
        refused = any(host.refused for host in self.cluster.hosts) and "refused" in reason
        declined = any(host.declines for host in self.cluster.hosts) and "never called optimizer.step()" in reason
        promise(outcome.finish.ok or refused or declined, f"it ended badly: {reason}")
        return outcome

    def limit(self) -> float:
        """Virtual seconds in which any policy must be done: all by the slowest host, ten times over.

        To that come the waits that faults may cost: each stall and cut once, and for each host the time until it is
        given up.
        """
        hosts = self.cluster.hosts
        slowest = min(hosts, key=lambda host: host.pace)
        samples = self.positions * self.settings.epochs
        trip = max(h.latency + h.uplink + h.downlink + h.jitter + h.overhead for h in hosts)
        work = samples / slowest.pace + samples * (trip + self.cluster.step_seconds)
        faults = sum(seconds for host in hosts for _, seconds in (*host.stalls, *host.cuts))
        given_up = len(hosts) * (self.settings.patience + 10 * self.settings.batch / slowest.pace)
        joins = max(h.joins for h in hosts)
        return 10 * work + faults + joins + 3 * given_up + self.settings.epochs * self.cluster.evaluation + 60


def watch_for(settings: Settings, policy: Policy) -> Invariants:
    """The invariants that ``policy`` promises: what all promise, and its own."""
    bound: int | None = getattr(policy, "most", getattr(policy, "bound", 0)) if policy.collects else None
    return Invariants(settings, bound, policy.in_rank_order, promises_of(policy))


class Choices(Protocol):
    """What chooses. The first of several is the simplest."""

    def whole(self, least: int, most: int) -> int:
        """A number between them, both included."""

    def one(self, options: tuple[T, ...]) -> T:
        """One of them."""

    def several(self, most: int, make: Callable[[], T], least: int = 0) -> list[T]:
        """A list of so many."""


class Chance:
    """Chooses by a seeded generator: the same seed, the same choices.

    >>> Chance(random.Random(1)).one((20, 50)) == Chance(random.Random(1)).one((20, 50))
    True
    """

    def __init__(self, generator: random.Random) -> None:
        self._random = generator

    def whole(self, least: int, most: int) -> int:
        """A number between them, both included."""
        return self._random.randint(least, most)

    def one(self, options: tuple[T, ...]) -> T:
        """One of them."""
        return self._random.choice(options)

    def several(self, most: int, make: Callable[[], T], least: int = 0) -> list[T]:
        """A list of so many."""
        return [make() for _ in range(self._random.randint(least, most))]


def moment(choose: Choices, most: float) -> float:
    """A moment or a duration, in seconds; a multiple of a millisecond, so that they meet each other often."""
    return choose.whole(0, round(most * 1000)) / 1000


def host(choose: Choices, faults: bool = True) -> Host:
    """One worker: pace over two orders of magnitude, and (with ``faults``) all that can go wrong with it."""
    made = Host(
        pace=choose.one((20.0, 50.0, 100.0, 333.0, 800.0, 2000.0)),
        overhead=choose.one((0.0, 0.0005, 0.01)),
        noise=choose.one((0.0, 0.1, 0.5)),
        uplink=moment(choose, 0.2),
        downlink=moment(choose, 0.2),
        latency=moment(choose, 0.02),
    )
    if not faults:
        return made

    def span() -> tuple[float, float]:
        return moment(choose, 4.0), moment(choose, 12.0)

    stalls = choose.several(2, span)
    cuts = choose.several(choose.one((0, 0, 2)), span)
    joins = choose.one((0.0, moment(choose, 3.0)))
    lives = choose.one((None, moment(choose, 6.0)))
    return replace(
        made,
        joins=joins,
        dies=None if lives is None else joins + lives,
        stalls=tuple(sorted(stalls)),
        cuts=apart(cuts),
        silence=choose.one((None, 3.0)),
        declines=choose.one((0, 0, 0, 2, 5)),
        refused=choose.one((0, 0, 0, 3, 7)),
        jitter=choose.one((0.0, 0.0, 0.01, 0.3)),
        repeats=choose.one((0, 0, 1, 3)),
    )


def apart(spans: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Spans in order of time, without those that begin before the one before has ended.

    >>> apart([(3.0, 1.0), (0.0, 2.0), (1.0, 9.0)])
    ((0.0, 2.0), (3.0, 1.0))
    """
    kept: list[tuple[float, float]] = []
    for start, seconds in sorted(spans):
        if not kept or start > sum(kept[-1]):
            kept.append((start, seconds))
    return tuple(kept)


def schedule(choose: Choices, faults: bool = True) -> Schedule:
    """A run of 1 to 6 hosts over 1 to 3 short epochs in which somebody is left to do the work."""
    team = choose.several(6, lambda: host(choose, faults), least=1)
    if all(one.dies is not None for one in team):
        # Whoever came last stays, so that there is an end to wait for.
        last = max(range(len(team)), key=lambda index: team[index].joins)
        team[last] = replace(team[last], dies=None)
    cluster = Cluster(
        tuple(team),
        step_seconds=choose.one((0.0, 0.001, 0.05)),
        probe=choose.one((False, True)),
        evaluation=choose.one((0.0, 0.3, 3.0)),
        seed=choose.whole(0, 1000),
    )
    settings = Settings(
        batch=choose.one((1, 2, 7, 32, 64, 100)),
        epochs=choose.whole(1, 3),
        workers=choose.whole(1, len(team)),
        patience=choose.one((1.0, 5.0)),
        drop_last=choose.one((False, True)),
    )
    return Schedule(cluster, settings, choose.whole(0, min(400, 12 * settings.batch)))


def of_seed(seed: int) -> Schedule:
    """The schedule of a seed: the same in every process.

    >>> of_seed(7) == of_seed(7)
    True
    """
    return schedule(Chance(random.Random(seed)))
