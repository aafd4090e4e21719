"""With many workers what follows from all of them is kept for a while: cheaper, and nearly as good."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core import forecast, state
from evener.core.coordinator import Coordinator
from evener.core.members import Mean, Member
from evener.core.policies import POLICIES
from evener.core.state import RunState, Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation
from evener.testing.makers import MAKERS, Maker
from evener.testing.schedules import Chance, Schedule, host


def cluster(workers: int) -> Cluster:
    """All paces of the simulator's benchmark; steps take no time, so that pushes do not queue up before the server."""
    hosts = tuple(Host((800.0, 400.0, 200.0, 100.0)[worker % 4], noise=0.1) for worker in range(workers))
    return Cluster(hosts, step_seconds=0.0)


def simulate(workers: int, policy: Any, share: int = 48, steps: int = 8) -> Outcome:
    """Some steps, of so many samples for each worker."""
    settings = Settings(share * workers, 1, workers=workers)
    return Simulation(cluster(workers), settings, policy, steps * share * workers, keep_log=False).run()


@pytest.mark.parametrize(("members", "changes"), [(1, 1), (64, 1), (71, 1), (72, 2), (1088, 256)])
def test_a_plan_is_kept_for_longer_the_more_members_there_are(members: int, changes: int) -> None:
    run = RunState(Settings(10, 1))
    run.members = {worker: Member(worker, Mean(1.0), 1, 0) for worker in range(members)}
    seen = set()
    for run.changes in range(10 * changes):
        seen.add(run.glance)
    assert len(seen) == 10


def test_a_plan_that_is_kept_for_a_while_is_nearly_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for few in (96, 64):
        monkeypatch.setattr(state, "FEW", few)
        monkeypatch.setattr(forecast, "FEW", few)
        found.append(simulate(96, POLICIES["balanced"]()))
    exact, kept = found
    assert kept.samples_per_second > 0.95 * exact.samples_per_second
    assert kept.stale_fraction < 0.1


def test_a_batch_of_few_samples_for_each_of_many_is_handed_out_at_once() -> None:
    # Nobody's share is worth a ticket: each next one is for who lands it first, by a forecast that knows of the others.
    published = [0.0]

    def see(run: Coordinator, event: e.Event, said: list[c.Command], now: float) -> None:
        published.extend(now for command in said if isinstance(command, c.Publish))

    settings = Settings(1200, 1, workers=300)
    Simulation(cluster(300), settings, POLICIES["balanced"](), 20 * 1200, see, keep_log=False).run()
    took = [after - before for before, after in pairwise(published)]
    assert len(took) == 20
    assert max(took) < 3 * min(took)


@pytest.mark.parametrize("name", ["balanced", "delayed", "dynamic", "stale", "synchronous"])
def test_the_questions_for_a_contribution_do_not_grow_with_the_workers(name: str) -> None:
    found = []
    for workers in (100, 400):
        policy: Any = POLICIES[name]()
        questions = 0

        def assign(*arguments: Any, policy: Any = policy) -> Any:
            nonlocal questions
            questions += 1
            return type(policy).assign(policy, *arguments)

        policy.assign = assign
        contributions = simulate(workers, policy, 32, 4).contributions
        found.append(questions / contributions)
    assert found[1] < 1.5 * found[0] + 1


@pytest.mark.parametrize("maker", [maker for maker in MAKERS if not maker.options], ids=str)
def test_many_workers_keep_what_a_policy_promises(maker: Maker) -> None:
    chance = Chance(random.Random(5))
    hosts = [host(chance) for _ in range(110)]
    for worker in range(0, 110, 2):
        hosts[worker] = Host(200.0, noise=0.2)
    schedule = Schedule(Cluster(tuple(hosts), seed=3), Settings(640, 2, workers=100, patience=1.0), 1500)
    schedule.prove(maker(schedule))
