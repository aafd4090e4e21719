"""The stale samples of a run are within the budget, whoever is late; what it has no room for is waited for."""

from __future__ import annotations

import pytest

from evener.core.budget import BANK, Budget
from evener.core.ledger import Lot
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation


def slow(workers: int) -> list[Host]:
    """A smallest ticket takes some of them about as long as a step, and they are as late as noise makes them."""
    return [Host(2 + worker % 15, noise=0.2) for worker in range(workers)]


def simulate(hosts: list[Host], batch: int, steps: int, fraction: float) -> tuple[Outcome, list[int]]:
    """A run, and the stale samples of each of its steps, by what the policy is told."""
    stale: list[int] = []
    policy = Balanced(1, fraction)
    settle = policy.closed
    policy.closed = lambda state, lot: (stale.append(lot.stale), settle(state, lot))
    settings = Settings(batch, 1, workers=len(hosts))
    run = Simulation(Cluster(tuple(hosts)), settings, policy, steps * batch, keep_log=False).run()
    return run, stale


@pytest.mark.parametrize(
    ("hosts", "batch", "steps", "fraction"),
    [(slow(32), 2048, 24, 0.05), (slow(32), 2048, 24, 0.0), (slow(96), 6144, 16, 0.05)],
    ids=["32 slow", "nothing may be stale", "96 slow"],
)
def test_what_is_late_spends_no_more_than_the_budget_and_what_may_be_owed(hosts, batch, steps, fraction):
    run, stale = simulate(hosts, batch, steps, fraction)
    allowed = fraction * batch
    assert run.applied == steps * batch
    # Beside what may be owed there is what those who run ahead into two open steps were promised before: for each its
    # own budget, and a part of what was saved that is as much at most.
    assert run.stale <= allowed * (steps + BANK + 4)
    # The first steps, which know little of the workers, leave the debts; the others live on their own budget.
    assert sum(stale[steps // 2 :]) <= allowed * (steps - steps // 2 + BANK)


def test_some_staleness_does_not_make_slow_workers_slower_than_none():
    some, none = (simulate(slow(32), 2048, 24, fraction)[0].samples_per_second for fraction in (0.05, 0.0))
    assert some > 0.95 * none


def lot(index: int, stale: int = 0) -> Lot:
    return Lot(index, 0, 100 * index, 100, [], 0, stale=stale)


def test_what_may_move_is_what_the_budget_still_has():
    budget = Budget(1.0)  # of which no part is kept free
    assert budget.left([lot(0), lot(1)], 100) == 100 + BANK * 100
    assert budget.left([lot(0, stale=30), lot(1, stale=20)], 100) == 50 + BANK * 100
    budget.settle(lot(0, stale=30), 100)
    assert budget.left([lot(1)], 100) == 170 + BANK * 100
    budget.settle(lot(1, stale=1000), 100)
    assert budget.left([lot(2)], 100) == 0
