"""Hosts: how long a micro-batch takes, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host, rotating
from evener.simulation.drive import Simulation


def test_a_micro_batch_costs_an_overhead_and_its_samples() -> None:
    assert Host(100.0, overhead=0.5).duration(200, at=7.0) == 2.5
    assert Host(100.0, overhead=0.5).duration(200, at=7.0, factor=2.0) == 5.0


def test_a_change_of_pace_counts_from_its_moment() -> None:
    host = Host(100.0, overhead=0.0, paces=((5.0, 50.0), (6.0, 200.0)))
    assert [host.pace_at(time) for time in (0.0, 4.9, 5.0, 5.9, 6.0, 1e6)] == [100, 100, 50, 50, 200, 200]
    # One second at 100, one at 50, the rest at 200 samples/s.
    assert host.duration(250, at=4.0) == pytest.approx(2.5)


def test_a_change_of_pace_is_one_of_the_processor() -> None:
    host = Host(100.0, overhead=0.5, paces=((5.0, 50.0),), slows=((10.0, 5.0, 0.5),))
    assert [host.slowness(time) for time in (0.0, 5.0, 10.0)] == [1, 2, 4]
    assert [host.duration(0, at=time) for time in (0.0, 5.0, 10.0)] == pytest.approx([0.5, 1.0, 2.0])
    # A quarter of a second at 100, the rest of the overhead at 50 samples/s.
    assert host.duration(0, at=4.75) == pytest.approx(0.75)


def test_paces_may_begin_anew() -> None:
    host = Host(100.0, overhead=0.0, paces=((1.0, 50.0),), period=2.0)
    assert [host.pace_at(time) for time in (0.5, 1.5, 2.5, 3.5)] == [100, 50, 100, 50]
    assert host.duration(300, at=0.5) == pytest.approx(4.0)


@given(
    st.integers(1, 2000),
    st.floats(0.0, 100.0),
    st.floats(0.3, 3.0),
    st.lists(st.floats(10.0, 500.0), min_size=1, max_size=4),
    st.floats(0.05, 7.0),
)
def test_work_is_done_at_the_pace_of_each_moment(
    samples: int, at: float, factor: float, paces: list[float], every: float
) -> None:
    host = rotating([Host(pace) for pace in paces], every)[0]
    seconds = host.duration(samples, at, factor)
    rest = (samples + host.overhead * host.pace) * factor
    now, end = at, at + seconds
    while now < end - 1e-9:
        # Between two turns the pace does not change: look at it in the middle.
        until = min(end, (now // every + 1) * every)
        until = until if until > now + 1e-9 else min(end, until + every)
        rest -= host.pace_at((now + until) / 2) * (until - now)
        now = until
    assert abs(rest) < 1e-6 * max(paces) * (2 + seconds / every)


def test_rotating_hosts_have_all_paces_at_all_times() -> None:
    hosts = rotating([Host(pace) for pace in (400.0, 200.0, 100.0)], every=2.0)
    for time in (0.0, 1.9, 2.0, 5.0, 101.0):
        assert sorted(host.pace_at(time) for host in hosts) == [100.0, 200.0, 400.0]
    assert [host.pace_at(2.5) for host in hosts] == [200.0, 100.0, 400.0]


def test_a_run_on_rotating_hosts_loses_little() -> None:
    hosts = rotating([Host(800.0), Host(400.0), Host(200.0), Host(100.0)], every=3.0)
    outcome = Simulation(Cluster(hosts), Settings(256, 1, workers=4), Balanced(), positions=256 * 150).run()
    assert outcome.applied == 256 * 150
    assert outcome.samples_per_second > 0.75 * 1500


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"pace": 0.0}, "positive number of samples"),
        ({"pace": float("nan")}, "positive number of samples"),
        ({"paces": ((1.0, -5.0),)}, "positive number of samples"),
        ({"noise": -0.1}, "noise is not negative"),
        ({"uplink": float("inf")}, "finite"),
        ({"joins": 5.0, "dies": 4.0}, "it dies at 4.0 s; that must be a time from its joining at 5.0 s on"),
        ({"dies": float("nan")}, "it dies at nan s"),
        ({"stalls": ((1.0, -2.0),)}, "a stall is"),
        ({"stalls": ((float("nan"), 2.0),)}, "a stall is"),
        ({"paces": ((float("inf"), 2.0),)}, "paces go by time"),
        ({"paces": ((2.0, 5.0), (1.0, 5.0))}, "go by time"),
        ({"paces": ((2.0, 5.0),), "period": 2.0}, "ends before the last change"),
        ({"declines": -1}, "counts"),
    ],
)
def test_what_no_host_can_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Host(**{"pace": 100.0, **values})


def test_what_no_cluster_can_be() -> None:
    with pytest.raises(ValueError, match="at least one host"):
        Cluster(())
    with pytest.raises(ValueError, match="step_seconds"):
        Cluster((Host(1.0),), step_seconds=-1.0)
    with pytest.raises(ValueError, match="must be positive"):
        rotating([Host(1.0)], every=0.0)
    with pytest.raises(ValueError, match="their own changes"):
        rotating([Host(1.0, paces=((1.0, 2.0),))], every=1.0)


def test_a_run_waits_for_those_who_are_there_from_the_start() -> None:
    assert Cluster((Host(1.0), Host(1.0, joins=5.0))).at_start == 1
    assert Cluster((Host(1.0, joins=2.0), Host(1.0, joins=5.0))).at_start == 1
