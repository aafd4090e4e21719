"""Options of `balanced` and what they do."""

import pytest

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation

BATCH = 512


def outcome(policy: Balanced, link: float, steps: int = 60):
    hosts = tuple(Host(pace=pace, overhead=0.004, noise=0.05, uplink=link, downlink=link) for pace in (500, 200, 100))
    return Simulation(Cluster(hosts), Settings(BATCH, epochs=1, workers=3), policy, BATCH * steps).run()


@pytest.mark.parametrize("link", [0.005, 0.3])
def test_the_automatic_bound_is_as_good_as_one_step(link):
    one = outcome(Balanced(bound=1, stale_fraction=1.0), link)
    auto = outcome(Balanced(bound="auto", stale_fraction=1.0), link)
    assert auto.samples_per_second >= 0.97 * one.samples_per_second


def test_the_automatic_bound_hides_transfers_that_take_longer_than_a_step():
    one = outcome(Balanced(bound=1, stale_fraction=1.0), link=0.8)
    auto = outcome(Balanced(bound="auto", stale_fraction=1.0), link=0.8)
    assert auto.samples_per_second > 1.3 * one.samples_per_second


def test_the_automatic_bound_is_one_step_where_transfers_are_short():
    one, auto = (outcome(Balanced(bound=bound), link=0.005) for bound in (1, "auto"))
    assert auto.log == one.log


@pytest.mark.parametrize("link", [0.02, 0.3])
@pytest.mark.parametrize("bound", [1, "auto"])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25])
def test_the_mean_stale_fraction_is_held(link, bound, fraction):
    assert outcome(Balanced(bound, fraction), link).stale_fraction <= 1.2 * fraction


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bound": -1}, "bound"),
        ({"bound": 0.5}, "bound"),
        ({"bound": "some"}, "bound"),
        ({"bound": True}, "bound"),
        ({"stale_fraction": 1.1}, "stale_fraction"),
        ({"stale_fraction": -0.1}, "stale_fraction"),
        ({"stale_fraction": "much"}, "stale_fraction"),
        ({"stale_fraction": float("nan")}, "stale_fraction"),
        ({"look_ahead": "maybe"}, "look_ahead"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named):
        Balanced(**options)


@pytest.mark.parametrize("bound", [0, 1])
@pytest.mark.parametrize(
    ("speeds", "batch", "fraction"),
    [
        ((10, 10, 10, 1), 256, 0.25),
        ((10, 4, 2, 1), 256, 0.1),
        ((16, 8, 8, 4, 4, 2, 2, 1), 512, 0.1),
        ((1, 1, 1, 0.1), 512, 0.1),
    ],
)
def test_adding_a_slow_worker_does_not_lower_throughput(speeds, batch, fraction, bound):
    def rate(hosts, seed):
        policy = Balanced(bound, fraction)
        settings = Settings(batch, epochs=2, workers=len(hosts))
        return Simulation(Cluster(hosts, seed=seed), settings, policy, 40 * batch, keep_log=False).run()

    paces = [500 * speed / max(speeds) for speed in speeds]
    team = tuple(
        Host(pace=pace, overhead=2.5 / pace, noise=0.1, uplink=0.005, downlink=0.015, latency=0.001) for pace in paces
    )
    with_it = sum(rate(team, seed).samples_per_second for seed in range(3))
    without = sum(rate(team[:-1], seed).samples_per_second for seed in range(3))
    assert with_it >= 0.98 * without
