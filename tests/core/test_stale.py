"""Clocks: nobody is too far ahead, and parameters are as fresh as that promises."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Dynamic, Stale, Synchronous
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation

from .script import Script, only


def script(policy: Stale, workers: int = 2, steps: bool = True) -> Script:
    run = Script(policy, positions=400, batch=8, workers=workers, steps=steps)
    run.join(*range(workers))
    return run


def go(run: Script, worker: int, pushes: int, every: float = 0.0) -> int:
    """Let it make so many pushes, as far as it may; returns how many it made."""
    for made in range(pushes):
        if not run.held(worker):
            return made
        run.start(worker, run.held(worker)[0])
        run.now += every
        run.push(worker, run.held(worker)[0])
    return pushes


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_a_worker_may_be_s_clocks_ahead_while_it_computes(bound: int) -> None:
    run = script(Stale(bound))
    assert go(run, 0, 20) == bound + 1
    assert go(run, 1, 1) == 1
    assert go(run, 0, 20) == 1


def test_tickets_are_granted_one_ahead_within_the_bound() -> None:
    run = script(Stale(1))
    run.start(0, run.held(0)[0])
    assert len(run.held(0)) == 2
    run.push(0, run.held(0)[0])
    run.start(0, run.held(0)[0])
    assert len(run.held(0)) == 1  # the next would be two clocks ahead


def test_a_computation_sees_all_updates_of_clocks_below_its_own_less_s() -> None:
    run = script(Stale(1), steps=False)
    go(run, 0, 2)
    run.start(1, run.held(1)[0], version=0)
    said = run.push(1, run.held(1)[0], version=0)
    grant = next(grant for grant in only(said, c.Grant) if grant.worker == 0)
    # It is at clock 2: all updates of clock 0 are wanted, and the last of those is the third push.
    assert grant.min_version == 3
    assert run.coordinator.state.version == 0


def test_no_fresher_parameters_are_asked_for_than_the_bound_promises() -> None:
    run = script(Stale(1), steps=False)
    go(run, 0, 1)
    go(run, 1, 2)  # its second push, at clock 1, makes version 3
    said = run.start(0, run.held(0)[0])
    (grant,) = only(said, c.Grant)  # for clock 2
    assert grant.min_version == 2


@pytest.mark.parametrize("how", ["left", "declined"])
def test_the_slowest_does_not_hold_others_up_when_it_leaves_or_declines(how: str) -> None:
    run = script(Stale(0))
    go(run, 0, 5)
    assert not run.held(0)
    run.tell(e.Left(1, "died") if how == "left" else e.Declined(1, run.held(1)[0]))
    assert run.held(0)


def test_who_joins_starts_at_the_clock_of_the_slowest() -> None:
    run = script(Stale(2))
    for _ in range(10):
        go(run, 0, 1)
        go(run, 1, 1)
    run.join(2)
    assert go(run, 0, 20) == 3
    assert go(run, 2, 20) == 3  # ten clocks behind it would have been 13


def rate(policy: Stale | Synchronous, paces: tuple[float, ...], batches: int = 100) -> float:
    hosts = tuple(Host(50 * pace, noise=0.05) for pace in paces)
    settings = Settings(512, 1, workers=len(hosts))
    return Simulation(Cluster(hosts), settings, policy, 512 * batches, keep_log=False).run().samples_per_second


def test_under_lasting_differences_it_tends_to_the_speed_of_synchronous_training() -> None:
    paces = (8, 4, 2, 1)
    assert rate(Stale(3), paces) == pytest.approx(rate(Synchronous(), paces), rel=0.1)


def test_it_hides_short_hold_ups() -> None:
    def simulated(policy: Stale | Synchronous) -> float:
        hosts = tuple(Host(100.0, noise=0.5) for _ in range(4))
        return Simulation(Cluster(hosts), Settings(512, 1, workers=4), policy, 512 * 60).run().samples_per_second

    assert simulated(Stale(3)) > 1.3 * simulated(Synchronous())


# Dynamic ----------------------------------------------------------------------------------------------------


def test_the_fastest_runs_on_when_that_makes_it_wait_less() -> None:
    # Pushes of worker 0 take 1 s, of worker 1 2.9 s: its next are predicted for 5.8 + 2.9 = 8.7 s, then 11.6 s.
    run = script(Dynamic(1, 8))
    for worker, at in ((0, 1.0), (0, 2.0), (1, 2.9), (0, 3.9), (1, 5.8)):
        run.now = at
        assert go(run, worker, 1) == 1
    run.now = 6.0
    assert go(run, 0, 1) == 1  # clock 3; the slowest is at 2
    made = go(run, 0, 20, every=1.0)
    assert 1 < made <= 8
    assert not run.held(0)


def test_it_never_passes_s_max() -> None:
    run = script(Dynamic(0, 4))
    for worker, at in ((1, 1.0), (0, 1.0), (0, 1.1), (1, 2.0)):
        run.now = at
        go(run, worker, 1)
    ahead = go(run, 0, 50, every=0.01)
    assert ahead <= 5


def test_without_measurements_or_room_it_is_stale_with_s_min() -> None:
    assert go(script(Dynamic(2, 9)), 0, 20) == 3  # no interval of the other's is known
    assert go(script(Dynamic(2, 2)), 0, 20) == 3


def test_who_is_not_the_fastest_waits_at_s_min() -> None:
    run = script(Dynamic(1, 6), workers=3)
    for at in (1.0, 2.0):
        for worker in (0, 1, 2):
            run.now = at + worker / 100
            go(run, worker, 1)
    go(run, 0, 3, every=0.05)
    assert go(run, 1, 20, every=0.05) == 2
