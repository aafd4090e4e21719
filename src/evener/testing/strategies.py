"""Random clusters and schedules for property tests. Needs ``hypothesis``: import it by name, from tests only.

>>> from evener.testing import strategies
>>> schedule = strategies.schedules().example()                                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from ..core.policies import Policy
from ..core.state import Settings
from ..simulation.cluster import Cluster, Host
from ..simulation.drive import Outcome, Simulation
from .invariants import Invariants
from .promises import promises_of


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

    def limit(self) -> float:
        """Virtual seconds in which any policy must be done: all by the slowest host, ten times over.

        To that come the waits that faults may cost: each stall once, and for each host the time until it is given up.
        """
        hosts = self.cluster.hosts
        slowest = min(hosts, key=lambda host: host.pace)
        samples = self.positions * self.settings.epochs
        trip = max(h.latency + h.uplink + h.downlink + h.jitter + h.overhead for h in hosts)
        work = samples / slowest.pace + samples * (trip + self.cluster.step_seconds)
        faults = sum(seconds for host in hosts for _, seconds in host.stalls) + max(h.joins for h in hosts)
        given_up = len(hosts) * (self.settings.patience + 10 * self.settings.batch / slowest.pace)
        return 10 * work + faults + 3 * given_up + self.settings.epochs * self.cluster.evaluation + 60


def watch_for(settings: Settings, policy: Policy) -> Invariants:
    """The invariants that ``policy`` promises: what all promise, and its own."""
    bound: int | None = getattr(policy, "most", getattr(policy, "bound", 0)) if policy.collects else None
    return Invariants(settings, bound, policy.in_rank_order, promises_of(policy))


def times(most: float) -> st.SearchStrategy[float]:
    """Moments and durations, in seconds; multiples of a millisecond, so that they meet each other often."""
    return st.integers(0, round(most * 1000)).map(lambda ms: ms / 1000)


@st.composite
def hosts(draw: Callable[[st.SearchStrategy[object]], object], faults: bool = True) -> Host:
    """One worker: pace over two orders of magnitude, and (with ``faults``) all that can go wrong with it."""
    pick: Callable[..., float] = draw  # type: ignore[assignment]
    host = Host(
        pace=pick(st.sampled_from((20.0, 50.0, 100.0, 333.0, 800.0, 2000.0))),
        overhead=pick(st.sampled_from((0.0, 0.0005, 0.01))),
        noise=pick(st.sampled_from((0.0, 0.1, 0.5))),
        uplink=pick(times(0.2)),
        downlink=pick(times(0.2)),
        latency=pick(times(0.02)),
    )
    if not faults:
        return host
    stalls: list[tuple[float, float]]
    stalls = draw(st.lists(st.tuples(times(4.0), times(12.0)), max_size=2))  # type: ignore[assignment]
    joins = pick(st.one_of(st.just(0.0), times(3.0)))
    lives = draw(st.one_of(st.none(), times(6.0)))
    return replace(
        host,
        joins=joins,
        dies=None if lives is None else joins + lives,  # type: ignore[operator]
        stalls=tuple(sorted(stalls)),
        declines=int(pick(st.sampled_from((0, 0, 0, 2, 5)))),
        refused=int(pick(st.sampled_from((0, 0, 0, 3, 7)))),
        jitter=pick(st.sampled_from((0.0, 0.0, 0.01, 0.3))),
        repeats=int(pick(st.sampled_from((0, 0, 1, 3)))),
    )


@st.composite
def schedules(draw: Callable[[st.SearchStrategy[object]], object], faults: bool = True) -> Schedule:
    """A run of 1 to 6 hosts over 1 to 3 short epochs in which somebody is left to do the work."""
    pick: Callable[..., int] = draw  # type: ignore[assignment]
    team: list[Host] = draw(st.lists(hosts(faults), min_size=1, max_size=6))  # type: ignore[assignment]
    if all(host.dies is not None for host in team):
        # Whoever came last stays, so that there is an end to wait for.
        last = max(range(len(team)), key=lambda index: team[index].joins)
        team[last] = replace(team[last], dies=None)
    cluster = Cluster(
        tuple(team),
        step_seconds=pick(st.sampled_from((0.0, 0.001, 0.05))),
        probe=bool(draw(st.booleans())),
        evaluation=pick(st.sampled_from((0.0, 0.3, 3.0))),
        seed=pick(st.integers(0, 1000)),
    )
    settings = Settings(
        batch=pick(st.sampled_from((1, 2, 7, 32, 64, 100))),
        epochs=pick(st.integers(1, 3)),
        workers=pick(st.integers(1, len(team))),
        patience=pick(st.sampled_from((1.0, 5.0))),
        drop_last=bool(draw(st.booleans())),
    )
    positions = pick(st.integers(0, min(400, 12 * settings.batch)))
    return Schedule(cluster, settings, positions)
