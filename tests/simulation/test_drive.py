"""Simulated runs: reproducible, and as fast as arithmetic says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import POLICIES, Asynchronous, Balanced, Policy, Synchronous
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation, Stuck
from evener.testing import Invariants

SPEEDS = (8, 4, 2, 1)
BATCH = 512


def simulate(
    hosts: list[Host], policy: Policy, batches: int = 60, batch: int = BATCH, patience: float = 30.0, seed: int = 0
) -> Outcome:
    settings = Settings(batch, 1, workers=len(hosts), patience=patience)
    return Simulation(Cluster(tuple(hosts), seed=seed), settings, policy, positions=batch * batches).run(limit=2000)


def team(pace: float = 800.0, noise: float = 0.0) -> list[Host]:
    return [Host(pace=pace * speed, noise=noise) for speed in SPEEDS]


def limit(hosts: list[Host]) -> float:
    return sum(host.pace for host in hosts)


# Expectations -----------------------------------------------------------------------------------------------


def test_synchronous_runs_at_the_speed_of_the_slowest() -> None:
    utilisation = simulate(team(), Synchronous()).samples_per_second / limit(team())
    assert utilisation == pytest.approx(4 * 1 / 15, rel=0.06)


def test_asynchronous_runs_at_the_speed_of_all() -> None:
    hosts = [Host(pace=100.0 * speed, overhead=0.0, uplink=0.0, downlink=0.0) for speed in SPEEDS]
    assert simulate(hosts, Asynchronous(), batches=300).samples_per_second / limit(hosts) > 0.97


def test_balanced_is_three_times_synchronous_at_these_speeds() -> None:
    for noise in (0.0, 0.1):
        synchronous = simulate(team(noise=noise), Synchronous()).samples_per_second
        assert simulate(team(noise=noise), Balanced()).samples_per_second > 2.8 * synchronous
        assert simulate(team(noise=noise), Balanced(0)).samples_per_second > 2.5 * synchronous


def test_one_worker_is_plain_training() -> None:
    for policy in (Synchronous(), Balanced(0)):
        outcome = simulate([Host(800.0)], policy, batches=10)
        assert outcome.stale == 0
        assert outcome.steps == 10
        assert outcome.samples_per_second > 0.9 * 800


@pytest.mark.parametrize("target", [0.1, 0.15, 0.25])
@pytest.mark.parametrize("bound", [1, 2])
def test_the_stale_fraction_stays_within_its_target(bound: int, target: float) -> None:
    outcome = simulate(team(noise=0.1), Balanced(bound, target), batches=300)
    assert outcome.stale_fraction <= target + 0.03


@pytest.mark.parametrize("policy", [Synchronous, lambda: Balanced(0), lambda: Balanced(0, 1.0)])
def test_with_bound_0_nothing_is_stale(policy: Callable[[], Policy]) -> None:
    outcome = simulate(team(noise=0.3), policy(), batches=40)
    adds = [x for _, _, commands in outcome.log for x in commands if isinstance(x, c.Accumulate)]
    assert {add.staleness for add in adds} == {0}
    assert outcome.stale_fraction == 0.0


@pytest.mark.parametrize("pace", [0.5, 5.0, 20.0, 50.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_very_slow_worker_costs_nothing(pace: float, noise: float) -> None:
    without = simulate(team(noise=noise), Balanced(1), batches=80)
    with_it = simulate([*team(noise=noise), Host(pace)], Balanced(1), batches=80)
    assert with_it.samples_per_second > 0.98 * without.samples_per_second


# Faults -----------------------------------------------------------------------------------------------------


def longest_gap(outcome: Outcome) -> float:
    """Seconds between two versions, at most."""
    times = [time for time, _, commands in outcome.log for x in commands if isinstance(x, c.Publish)]
    return max(later - sooner for sooner, later in pairwise(times))


@pytest.mark.parametrize("who", range(4))
@pytest.mark.parametrize("bound", [1, 2])
def test_balanced_does_not_wait_for_a_worker_that_stalls(who: int, bound: int) -> None:
    hosts = [Host(200.0 * v, stalls=((3.0, 25.0),) if i == who else ()) for i, v in enumerate(SPEEDS)]
    assert longest_gap(simulate(hosts, Balanced(bound))) < 3.0


def test_the_others_are_fed_while_a_fast_worker_hangs() -> None:
    hosts = [Host(400.0, stalls=((3.0, 1e9),)), Host(100.0), Host(100.0), Host(100.0)]
    outcome = simulate(hosts, Balanced(1), batch=64, batches=200)
    assert longest_gap(outcome) < 3.0
    assert outcome.seconds < 1.7 * 64 * 200 / 300


@pytest.mark.parametrize("policy", [*POLICIES.values(), lambda: Balanced(0), lambda: Balanced(2)])
def test_a_slow_link_is_learnt_although_its_first_pushes_come_too_late(policy: Callable[[], Policy]) -> None:
    hosts = [Host(200.0, uplink=3.0), Host(100.0, uplink=3.0)]
    outcome = simulate(hosts, policy(), batch=32, batches=4)
    assert outcome.applied == 4 * 32
    assert outcome.seconds < 60


@pytest.mark.parametrize("stalls_at", [0.0, 3.0])
@pytest.mark.parametrize("policy", [*POLICIES.values(), lambda: Balanced(0)])
def test_who_hangs_for_good_is_given_up(policy: Callable[[], Policy], stalls_at: float) -> None:
    hosts = [Host(400.0, stalls=((stalls_at, 1e9),)), Host(100.0), Host(100.0)]
    outcome = simulate(hosts, policy(), batch=64, batches=40, patience=5.0)
    assert outcome.applied == 64 * 40
    assert outcome.seconds < 64 * 40 / 200 + 40


def test_without_anybody_the_run_is_stuck() -> None:
    with pytest.raises(Stuck, match="nothing left to happen"):
        simulate([Host(100.0, dies=1.0)], Balanced())


def test_a_run_has_a_limit() -> None:
    settings = Settings(64, 1)
    with pytest.raises(Stuck, match="not finished after"):
        Simulation(Cluster((Host(10.0),)), settings, Balanced(), positions=6400).run(limit=5.0)


def test_all_may_leave_as_long_as_somebody_comes() -> None:
    hosts = [Host(100.0, dies=2.0), Host(100.0, dies=3.0), Host(100.0, joins=60.0)]
    settings = Settings(64, 1, workers=2)
    for policy in POLICIES.values():
        outcome = Simulation(Cluster(tuple(hosts)), settings, policy(), positions=1000).run()
        assert outcome.applied == 1000


# The virtual clock ------------------------------------------------------------------------------------------


def test_the_seed_makes_the_noise() -> None:
    logs = [simulate(team(noise=0.2), Balanced(), batches=5, seed=seed).log for seed in (1, 1, 2)]
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def reports(outcome: Outcome) -> list[str]:
    return [type(event).__name__ for _, event, _ in outcome.log]


def test_jitter_lets_pushes_overtake_reports() -> None:
    host = Host(100.0, uplink=0.001, jitter=0.2)
    outcome = simulate([host], Asynchronous(), batches=20)
    early = 0
    computed: set[int] = set()
    for _, event, _ in outcome.log:
        if isinstance(event, e.Computed):
            computed.add(event.ticket)
        if isinstance(event, e.Arrived):
            early += sum(ticket not in computed for ticket in event.tickets)
    assert early > 5
    assert outcome.applied == 20 * BATCH


def test_repeats_deliver_messages_twice() -> None:
    plain, twice = (simulate([Host(100.0, repeats=n)], Balanced(), batches=5) for n in (0, 1))
    for kind in ("Started", "Computed", "Arrived"):
        assert reports(twice).count(kind) == 2 * reports(plain).count(kind)
    assert twice.applied == plain.applied


def test_what_is_under_way_at_a_death_arrives_with_jitter() -> None:
    hosts = [Host(100.0, uplink=0.5, dies=2.8, jitter=0.01), Host(100.0)]
    outcome = simulate(hosts, Asynchronous(), batches=4)
    left = reports(outcome).index("Left")
    assert any(isinstance(event, e.Arrived) and event.worker == 0 for _, event, _ in outcome.log[left:])
    assert outcome.applied == 4 * BATCH


def test_staleness_is_counted_where_a_ticket_is_applied() -> None:
    hosts = [Host(200.0 * v, stalls=((3.0, 0.25),) if v == 2 else ()) for v in SPEEDS]
    outcome = simulate(hosts, Balanced(1, 0.05), batches=60)
    moved = [x for _, _, commands in outcome.log for x in commands if isinstance(x, c.Moved)]
    adds = [x for _, _, commands in outcome.log for x in commands if isinstance(x, c.Accumulate)]
    assert moved
    assert 0 < outcome.stale <= sum(add.samples for add in adds if add.staleness)


def test_an_observer_sees_events_and_commands_in_order() -> None:
    seen: list[tuple[float, e.Event, list[c.Command]]] = []

    def observe(coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        seen.append((now, event, commands))

    cluster, settings = Cluster((Host(800.0),)), Settings(64, 1)
    outcome = Simulation(cluster, settings, Balanced(), 640, observe).run()
    assert seen == outcome.log
    assert Simulation(cluster, settings, Balanced(), 640, Invariants(settings, 1), keep_log=False).run().log == []


@pytest.mark.parametrize("stalls", [((3.0, 2.0),), ((2.95, 0.2), (3.0, 2.0))])
def test_a_stall_takes_as_long_as_it_says(stalls: tuple[tuple[float, float], ...]) -> None:
    """Also where the micro-batch would have ended in the middle of it."""
    calm, held = (
        Simulation(Cluster((Host(pace=100.0, stalls=some),)), Settings(batch=64, epochs=1), Asynchronous(), 640).run()
        for some in ((), stalls)
    )
    assert held.seconds - calm.seconds == pytest.approx(stalls[-1][0] + stalls[-1][1] - stalls[0][0], abs=0.02)
