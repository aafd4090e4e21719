"""Options of `balanced` and what they do."""

import dataclasses
from itertools import pairwise

import pytest

from evener.core.commands import Accumulate, Grant, SitOut, Step
from evener.core.policies import Balanced, Synchronous
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


def made(*paces, overhead=2.5, uplink=0.005, downlink=0.015, noise=0.1):
    """Hosts of these paces; a micro-batch costs ``overhead`` samples' worth of time beyond its own."""
    return tuple(
        Host(pace=pace, overhead=overhead / pace, noise=noise, uplink=uplink, downlink=downlink, latency=0.001)
        for pace in paces
    )


def rate(hosts, batch, bound, fraction, steps=60):
    """Samples/s, over three seeds."""
    settings = Settings(batch, epochs=1, workers=len(hosts))
    return sum(
        Simulation(Cluster(hosts, seed=seed), settings, Balanced(bound, fraction), steps * batch, keep_log=False)
        .run()
        .samples_per_second
        for seed in range(3)
    )


@pytest.mark.parametrize("bound", [0, 1, "auto"])
@pytest.mark.parametrize(
    ("team", "slow", "batch", "fraction"),
    [
        (made(500, 500, 500), made(50), 256, 0.25),
        (made(500, 200, 100), made(50), 256, 0.1),
        (made(500, 250, 250, 125, 125, 62, 62), made(31), 512, 0.1),
        (made(500, 500), made(50), 256, 0.1),
        (made(250, 500, 500, downlink=0.05), made(25, 25, 25, 25, downlink=0.05), 512, 0.25),
        (made(500, 500, 500), made(500, downlink=0.3), 256, 0.1),
        (made(*[500] * 5, uplink=0.02), made(50, 50, uplink=0.02), 64, 0.1),
    ],
    ids=["10:10:10:1", "10:4:2:1", "eight", "two fast", "several slow", "slow link", "small batch"],
)
def test_adding_a_slow_worker_does_not_lower_throughput(team, slow, batch, fraction, bound):
    assert rate(team + slow, batch, bound, fraction) >= 0.97 * rate(team, batch, bound, fraction)


def test_a_bound_of_two_steps_is_no_reason_to_wait_for_the_slow():
    team = made(500, 500, 500)
    assert rate(team + made(50), 256, 2, 0.1, steps=200) >= 0.97 * rate(team, 256, 2, 0.1, steps=200)


@pytest.mark.parametrize(("workers", "batch"), [(8, 128), (16, 256)])
def test_of_equals_nobody_sits_out(workers, batch):
    hosts = made(*[500] * workers, overhead=0.5, uplink=0.002, downlink=0.004, noise=0.05)
    settings = Settings(batch, epochs=1, workers=workers)
    fair = Simulation(Cluster(hosts), settings, Synchronous(), 60 * batch).run().samples_per_second
    ours = Simulation(Cluster(hosts), settings, Balanced(bound=0), 60 * batch).run()
    assert ours.samples_per_second >= 0.95 * fair
    assert not any(isinstance(command, SitOut) for _, _, commands in ours.log for command in commands)


def test_a_budget_that_was_overdrawn_is_repaid():
    """Tickets that are late move to the next step, and are stale there: that was in nobody's plan."""
    hosts = made(500, 500, 500, 500, uplink=0.3)
    settings = Settings(256, epochs=1, workers=4)
    run = Simulation(Cluster(hosts), settings, Balanced("auto", 0.25), 120 * 256).run()
    assert run.stale_fraction <= 1.2 * 0.25


UNEQUAL = (
    Host(pace=5600, overhead=0.001, noise=0.18, uplink=0.0015, downlink=0.006),
    Host(pace=2800, overhead=0.0025, noise=0.23, uplink=0.002, downlink=0.007),
    Host(pace=1400, overhead=0.0055, noise=0.28, uplink=0.004, downlink=0.011),
    Host(pace=700, overhead=0.015, noise=0.3, uplink=0.01, downlink=0.025),
)


@pytest.mark.parametrize("worker", range(3))
@pytest.mark.parametrize("seed", range(2))
def test_a_worker_that_hung_is_as_useful_as_before(worker, seed):
    hosts = [
        dataclasses.replace(host, stalls=((4.0, 1.0),)) if at == worker else host for at, host in enumerate(UNEQUAL)
    ]
    cluster = Cluster(tuple(hosts), step_seconds=0.0012, seed=seed)
    policy = Balanced(stale_fraction=0.2)
    log = Simulation(cluster, Settings(batch=512, epochs=1, workers=4), policy, 512 * 160).run().log
    done = [(t, command) for t, _, commands in log for command in commands]
    before, after = (
        sum(c.samples for t, c in done if isinstance(c, Accumulate) and c.worker == worker and begin < t < end)
        for begin, end in ((0.5, 4.0), (7.0, 10.5))
    )
    assert after > 0.6 * before
    steps = [t for t, command in done if isinstance(command, Step)]
    held_up = max(later - earlier for earlier, later in pairwise(steps))
    assert held_up < 0.6, "nor did the others wait until it was back"


def test_a_worker_that_was_disturbed_is_tried_again():
    disturbed = Host(pace=1000, overhead=0.002, noise=0.1, paces=((1.0, 20), (12.0, 1000)))
    cluster = Cluster((*UNEQUAL[:2], disturbed), step_seconds=0.0012)
    settings = Settings(batch=512, epochs=1, workers=3)
    log = Simulation(cluster, settings, Balanced(), 512 * 700).run().log
    done = [(t, command) for t, _, commands in log for command in commands]
    end = done[-1][0]

    def share(begin, end):
        all_of_them = [c for t, c in done if isinstance(c, Accumulate) and begin < t < end]
        return sum(c.samples for c in all_of_them if c.worker == 2) / sum(c.samples for c in all_of_them)

    assert share(6.0, 12.0) < 0.1 * 1000 / 9400
    assert share(end - 5.0, end) > 0.6 * 1000 / 9400


@pytest.mark.parametrize("stall", [0.5, 2.0])
def test_who_hung_in_its_very_first_transfer_is_tried_again_soon(stall):
    hosts = [Host(pace, overhead=0.001, noise=0.05, uplink=0.003, downlink=0.004) for pace in (600, 600, 300, 210)]
    hosts[0] = dataclasses.replace(hosts[0], joins=4.0, stalls=((4.02, stall),))
    log = Simulation(Cluster(tuple(hosts)), Settings(256, 1, workers=3), Balanced(), 256 * 100).run().log
    done = [(t, command) for t, _, commands in log for command in commands]
    assert any(isinstance(command, SitOut) for _, command in done), "else this shows nothing"
    samples = sum(c.samples for t, c in done if isinstance(c, Accumulate) and c.worker == 0 and 14.0 < t < 16.0)
    assert samples > 0.8 * 600 * 2.0


def test_who_is_too_slow_for_a_ticket_of_the_others_helps_with_smaller_ones():
    hosts = made(500, 500, 500, 80)  # its share of a batch of 256 is 13 samples; the others' smallest ticket has 16
    settings = Settings(256, epochs=1, workers=4)
    done = Simulation(Cluster(hosts), settings, Balanced(bound=0), 60 * 256).run()
    granted: dict[int, list[int]] = {}
    for _, _, commands in done.log:
        for said in commands:
            if isinstance(said, Grant):
                granted.setdefault(said.worker, []).append(sum(stop - start for start, stop in said.ranges))
    assert sum(granted[3]) > 0.015 * 60 * 256
    assert sum(size < 16 for worker in range(3) for size in granted[worker]) <= 60  # the rest of a step


def stale_of_steps(policy):
    """Stale samples of each step, by what the policy is told."""
    found = []
    closed = policy.closed
    policy.closed = lambda state, lot: (found.append(lot.stale), closed(state, lot))
    hosts = made(5600, 2800, 1400, 700, overhead=10, noise=0.2, uplink=0.003, downlink=0.004)
    Simulation(Cluster(hosts), Settings(512, 1, workers=4), policy, 200 * 512).run()
    return found


@pytest.mark.parametrize("fraction", [0.05, 0.15])
def test_what_was_saved_at_the_beginning_does_not_lift_the_mean_of_some_seconds(fraction):
    stale = stale_of_steps(Balanced(1, fraction))
    means = [sum(stale[start : start + 120]) / 120 / 512 for start in range(10, len(stale) - 120, 10)]
    assert 0.9 * fraction < max(means) <= fraction
