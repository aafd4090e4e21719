"""Stalls, cuts and other faults, scripted and by chance."""

from __future__ import annotations

import itertools
import random
import statistics
from typing import Any

import pytest

from evener.core import events as e
from evener.core.policies import Asynchronous, Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.simulation.faults import Fault
from evener.simulation.pauses import Pareto, Pauses
from evener.simulation.striking import strike


def test_a_stall_counts_once() -> None:
    """A micro-batch of 1 s that is interrupted for 10 s ends after 11, wherever in it the stall begins."""
    pauses = Pauses(((3.0, 10.0),))
    for begun in (2.0, 2.5, 2.999):
        assert pauses.end(begun, begun + 1.0) == pytest.approx(begun + 11.0)
    host = Host(100.0, overhead=0.0, uplink=0.0, downlink=0.0, latency=0.0, stalls=((0.5, 10.0),))
    log = Simulation(Cluster((host,)), Settings(100, 1), Asynchronous(), 100).run().log
    assert [time for time, event, _ in log if isinstance(event, e.Computed)] == [pytest.approx(11.0)]


def test_stalls_by_chance_are_as_long_and_as_often_as_they_say() -> None:
    drawn = Pareto(every=60.0, least=2.0, shape=3.0).draw(random.Random(1))
    stalls = [next(drawn) for _ in range(4000)]
    lengths = [seconds for _, seconds in stalls]
    between = [b - (a + seconds) for (a, seconds), (b, _) in itertools.pairwise(stalls)]
    assert min(lengths) >= 2.0
    assert statistics.mean(lengths) == pytest.approx(2.0 * 3.0 / 2.0, rel=0.05)
    assert statistics.mean(between) == pytest.approx(60.0, rel=0.05)


def test_pauses_by_chance_are_those_of_a_list() -> None:
    chance = Pareto(every=3.0, least=0.5, shape=1.5)
    drawn = chance.draw(random.Random(3))
    known = Pauses(tuple(next(drawn) for _ in range(2000)))
    lazy = Pauses((), chance.draw(random.Random(3)))
    now = 0.0
    for step in range(500):
        now = known.after(now)
        assert lazy.after(now) == now
        assert known.end(now, now + 0.1 * (step % 7)) == lazy.end(now, now + 0.1 * (step % 7))
        now += 1.7


def seconds(*hosts: Host) -> float:
    return Simulation(Cluster(hosts), Settings(64, 1, workers=len(hosts)), Balanced(), 64 * 60).run().seconds


def test_stalls_by_chance_cost_time_and_another_host_does_not_move_them() -> None:
    stalls = Pareto(every=2.0, least=0.5)
    assert seconds(Host(200.0, pareto=stalls)) > 1.1 * seconds(Host(200.0))

    def heard(*hosts: Host) -> list[tuple[float, e.Event]]:
        run = Simulation(Cluster(hosts, seed=4), Settings(64, 1, workers=2), Asynchronous(push=32), 64 * 60).run()
        return [(time, event) for time, event, _ in run.log if isinstance(event, e.Computed) and event.worker == 0]

    host = Host(200.0, noise=0.2, pareto=stalls)
    two = [event.seconds for _, event in heard(host, Host(50.0)) if isinstance(event, e.Computed)]
    other = [event.seconds for _, event in heard(host, Host(170.0, noise=0.5)) if isinstance(event, e.Computed)]
    some = min(len(two), len(other), 10)
    assert two[:some] == pytest.approx(other[:some], rel=1e-6)


def test_who_slows_takes_longer_for_so_long() -> None:
    slow = Host(100.0, overhead=0.0, slows=((1.0, 2.0, 0.5),))
    assert [slow.pace_at(time) for time in (0.9, 1.0, 2.9, 3.0)] == [100, 50, 50, 100]
    assert slow.duration(300, at=0.0) == pytest.approx(4.0)
    rotating = Host(100.0, overhead=0.0, paces=((1.0, 200.0),), period=2.0, slows=((2.5, 1.0, 0.1),))
    assert [rotating.pace_at(time) for time in (0.5, 1.5, 2.6, 3.2, 3.6)] == [100, 200, 10, 20, 200]


def test_faults_strike_the_worker_they_name() -> None:
    hosts = strike(
        [Host(100.0)] * 4,
        [
            Fault(0, 5.0, "dies"),
            Fault(1, 3.0, "hangs", seconds=2.0),
            Fault(1, 1.0, "hangs", seconds=1.0),
            Fault(2, 1.0, "is cut off", seconds=4.0),
            Fault(3, 1.0, "slows", seconds=4.0, factor=0.5),
        ],
    )
    assert hosts[0].dies == 5.0
    assert hosts[1].stalls == ((1.0, 1.0), (3.0, 2.0))
    assert hosts[2].cuts == ((1.0, 4.0),)
    assert hosts[3].slows == ((1.0, 4.0, 0.5),)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"what": "explodes"}, "a worker dies, hangs, is cut off or slows, but not: 'explodes'"),
        ({"what": "dies", "seconds": 3.0}, "gone for good: leave out 'for'"),
        ({"what": "hangs"}, "for how long it hangs is missing"),
        ({"what": "slows", "seconds": 3.0}, "'factor'"),
        ({"what": "hangs", "seconds": 3.0, "factor": 2.0}, "'factor'"),
        ({"what": "slows", "seconds": 3.0, "factor": 0.0}, "positive"),
        ({"what": "hangs", "seconds": float("inf")}, "finite"),
        ({"what": "dies", "at": -1.0}, "at 0 s or later"),
    ],
)
def test_what_no_fault_can_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Fault(**{"worker": 0, "at": 1.0, **values})


def test_a_worker_that_is_not_there_cannot_be_struck() -> None:
    with pytest.raises(ValueError, match="there is no worker 2: the hosts are workers 0 to 1"):
        strike([Host(1.0)] * 2, [Fault(2, 1.0, "dies")])
    with pytest.raises(ValueError, match=r"dies at 1\.0 s already"):
        strike([Host(1.0)], [Fault(0, 1.0, "dies"), Fault(0, 2.0, "dies")])


@pytest.mark.parametrize("name", ["every", "least", "shape"])
def test_what_no_chance_can_be(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is positive"):
        Pareto(**{"every": 1.0, name: 0.0})
