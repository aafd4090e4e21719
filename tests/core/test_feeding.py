"""Who is asked again: whoever may be answered otherwise, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.core.policies import POLICIES, Policy
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.testing.makers import MAKERS, Maker
from evener.testing.strategies import Schedule, schedules

PAUSING = [maker for maker in MAKERS if POLICIES[maker.name].pauses is not Policy.pauses]
HINGED = [maker for maker in MAKERS if POLICIES[maker.name].hinges is not Policy.hinges]


@given(schedules(), st.sampled_from(HINGED))
def test_who_is_not_asked_again_would_have_been_passed_over_again(schedule: Schedule, maker: Maker) -> None:
    always: Any = maker(schedule)
    always.hinges = lambda state, now: None
    assert schedule.run(maker(schedule), watch=False).log == schedule.run(always, watch=False).log


@given(schedules(), st.sampled_from(PAUSING))
def test_while_a_policy_pauses_nobody_would_get_anything(schedule: Schedule, maker: Maker) -> None:
    always: Any = maker(schedule)
    always.pauses = lambda state: False
    assert schedule.run(maker(schedule), watch=False).log == schedule.run(always, watch=False).log


@pytest.mark.parametrize(("name", "most"), [("stale", 4), ("dynamic", 4), ("delayed", 12)])
def test_the_questions_for_a_contribution_do_not_grow_with_the_workers(name: str, most: int) -> None:
    workers = 120
    hosts = tuple(Host((800.0, 400.0, 200.0, 100.0)[worker % 4], noise=0.1) for worker in range(workers))
    policy: Any = POLICIES[name]()
    questions = 0

    def assign(*arguments: Any) -> Any:
        nonlocal questions
        questions += 1
        return type(policy).assign(policy, *arguments)

    policy.assign = assign
    settings = Settings(16 * workers, 1, workers=workers)
    outcome = Simulation(Cluster(hosts, step_seconds=0.0), settings, policy, 16 * workers * 12, keep_log=False).run()
    assert outcome.contributions >= 1200
    assert questions <= most * outcome.contributions
