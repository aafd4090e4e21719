"""Windows closed by true barriers, told by hand; and how fast that is."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.monitor import Monitor
from evener.core.policies import Delayed, Synchronous
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation

from .script import Script, only


def script(delay: int | str = 3, paces: tuple[float, ...] = (80.0, 10.0), **about: int) -> Script:
    """Pushes of 4 samples, so that worker 0 needs 0.05 s and worker 1 0.4 s where nothing else is said."""
    run = Script(Delayed(delay, push=4), positions=about.get("positions", 400), batch=8, workers=len(paces))
    for worker, pace in enumerate(paces):
        run.join(worker, pace=pace)
    return run


def do(run: Script, worker: int, seconds: float, version: int | None = None) -> list[c.Command]:
    """The worker's first ticket, from its start to its arrival ``seconds`` later."""
    ticket = run.held(worker)[0]
    run.start(worker, ticket, version)
    run.now += seconds
    return run.push(worker, ticket, version=version)


def test_nobody_makes_more_than_d_pushes_in_a_window() -> None:
    run = script(delay=3)
    for _ in range(3):
        assert run.held(0)
        do(run, 0, 0.05)
    assert not run.held(0)
    assert len(run.held(1)) == 1


def test_the_barrier_waits_for_all_that_is_in_flight_and_then_all_start_alike() -> None:
    run = script(delay=9)
    do(run, 0, 0.05)
    first, second = run.held(0)[0], run.held(1)[0]
    run.start(0, first)
    queued = run.held(0)[1]
    assert not only(run.push(1, second, version=0), c.Grant)  # worker 0 still computes
    assert not only(run.tell(e.Released(0, queued)), c.Grant)
    grants = only(run.push(0, first, version=1), c.Grant)
    assert {grant.worker for grant in grants} == {0, 1}
    assert {grant.min_version for grant in grants} == {3}  # the version that all three pushes have made


def test_what_is_queued_when_the_window_closes_is_asked_back() -> None:
    run = script(delay=9)
    run.start(1, run.held(1)[0])
    do(run, 0, 0.05)
    run.start(0, run.held(0)[0])
    queued = run.held(0)[1]
    run.push(1, run.held(1)[0])  # sooner than anybody thought
    assert [revoke.ticket for revoke in only(run.wait(0.0), c.Revoke)] == [queued]


def test_no_push_is_begun_that_would_land_long_after_the_window() -> None:
    # 0.3 s a push beside 0.4 s: a second one would land 0.2 s late, which is more than half of what it takes.
    run = script(delay=9, paces=(4 / 0.3, 10.0))
    run.start(1, run.held(1)[0])
    do(run, 0, 0.3)
    assert not run.held(0)
    # 0.25 s a push: 0.1 s late is less than half.
    run = script(delay=9, paces=(4 / 0.25, 10.0))
    run.start(1, run.held(1)[0])
    do(run, 0, 0.25)
    assert run.held(0)


def test_a_window_lasts_until_the_slowest_whoever_that_is() -> None:
    run = script(delay=9, paces=(80.0, 10.0, 40.0))
    run.start(1, run.held(1)[0])
    run.start(2, run.held(2)[0])
    for _ in range(4):
        assert run.held(0)
        do(run, 0, 0.05)


def test_the_others_go_on_up_to_d_while_the_slowest_is_overdue() -> None:
    run = script(delay=20)
    run.start(1, run.held(1)[0])
    for _ in range(20):
        if not run.held(0):
            run.wait(1.0)
        do(run, 0, 0.05)
    run.wait(1.0)
    assert not run.held(0)


def test_who_joins_late_takes_part_from_the_next_window() -> None:
    run = script(delay=2)
    run.join(2, pace=80.0)
    assert not run.held(2)
    do(run, 0, 0.05)
    do(run, 0, 0.05)
    do(run, 1, 0.3)
    assert run.held(2)


@pytest.mark.parametrize("how", ["dies", "declines"])
def test_the_window_does_not_wait_for_a_push_that_will_not_come(how: str) -> None:
    run = script(delay=1)
    do(run, 0, 0.05)
    assert not run.held(0)
    run.tell(e.Left(1, "died") if how == "dies" else e.Declined(1, run.held(1)[0]))
    assert run.held(0)


def test_a_window_closes_when_the_last_that_it_waited_for_is_given_up() -> None:
    run = script(delay=50)
    run.start(1, run.held(1)[0])
    for _ in range(4):
        run.wait(7.5)
        do(run, 0, 0.05)  # it is late by as much again each time
    run.start(0, run.held(0)[0])
    queued = run.held(0)[1]
    said = run.wait(3.0)
    assert [sitter.worker for sitter in only(said, c.SitOut)] == [1]
    assert [revoke.ticket for revoke in only(said, c.Revoke)] == [queued]


@pytest.mark.parametrize(("downlink", "limit"), [(0.0, 5), (1.0, 7)])
def test_auto_is_the_ratio_of_the_times_from_push_to_push_and_one(downlink: float, limit: int) -> None:
    # A push of 50 samples takes 0.5 s and 1.79 s, and the slow one's a second more for the transfer.
    ideal = Host(100.0, overhead=0.0, uplink=0.0, downlink=0.0, latency=0.0)
    slow = Host(28.0, overhead=0.0, uplink=0.0, downlink=downlink, latency=0.0)
    policy = Delayed()
    cluster = Cluster((ideal, slow), step_seconds=0.0, probe=False)
    Simulation(cluster, Settings(100, 1, workers=2), policy, positions=10_000).run()
    assert policy.limit == limit


def test_the_monitor_counts_transfers_and_forgets_idle_time() -> None:
    monitor = Monitor()
    assert monitor.seconds(0, 20) is None
    monitor.begins(0, 1.0)
    monitor.landed(0, 10, 2.0)
    monitor.begins(0, 5.0)  # idle until then
    monitor.landed(0, 10, 6.0)
    assert monitor.seconds(0, 20) == pytest.approx(2.0)
    monitor.forget(0)
    assert monitor.seconds(0, 20) is None


def rate(paces: tuple[float, ...], policy: Delayed | Synchronous, batches: int, seed: int) -> float:
    hosts = tuple(Host(500 * pace / max(paces), noise=0.05, uplink=0.005, downlink=0.005) for pace in paces)
    settings = Settings(512, 1, workers=len(hosts))
    cluster = Cluster(hosts, seed=seed)
    return Simulation(cluster, settings, policy, 512 * batches, keep_log=False).run().samples_per_second


@pytest.mark.parametrize(("paces", "part"), [((10, 10, 10, 1), 0.9), ((10, 4, 2, 1), 0.8), ((8, 4, 2, 1), 0.8)])
@pytest.mark.parametrize("delay", ["auto", 4])
def test_it_is_nearly_as_fast_as_the_formula_says(paces: tuple[float, ...], part: float, delay: int | str) -> None:
    most = 1e9 if delay == "auto" else float(delay)
    promised = sum(min(most, pace / min(paces)) for pace in paces) / len(paces)
    seeds = (1, 2, 3)
    synchronous = sum(rate(paces, Synchronous(), 40, seed) for seed in seeds)
    assert sum(rate(paces, Delayed(delay), 200, seed) for seed in seeds) >= part * promised * synchronous
