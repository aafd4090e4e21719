"""One contract that every policy keeps, whatever happens to the workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given

from evener.core.coordinator import Coordinator
from evener.core.policies import POLICIES, Balanced, Policy
from evener.testing.strategies import Schedule, schedules

MAKERS: dict[str, Callable[[], Policy]] = {
    **POLICIES,
    **{
        f"balanced-{bound}-{fraction}": lambda bound=bound, fraction=fraction: Balanced(bound, fraction)
        for bound, fraction in ((0, 0.1), (1, 0.0), (1, 0.25), (1, 1.0), (2, 0.1), (2, 0.5))
    },
}


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> Callable[[], Policy]:
    return MAKERS[request.param]


@given(schedule=schedules())
def test_promises_hold_and_the_run_ends(maker: Callable[[], Policy], schedule: Schedule) -> None:
    outcome = schedule.run(maker())
    assert outcome.finish is not None
    refused = any(host.refused == 1 for host in schedule.cluster.hosts)
    declined = any(host.declines == 1 for host in schedule.cluster.hosts)
    assert outcome.finish.ok or refused or declined or "refused" in outcome.finish.reason


@given(schedule=schedules(faults=False))
def test_without_faults_every_position_is_applied(maker: Callable[[], Policy], schedule: Schedule) -> None:
    outcome = schedule.run(maker())
    wanted = schedule.positions
    if schedule.settings.drop_last:
        wanted -= wanted % schedule.settings.batch
    assert outcome.finish is not None
    assert outcome.finish.reason == "complete"
    assert outcome.applied == wanted * schedule.settings.epochs


@given(schedule=schedules())
def test_a_run_is_a_function_of_its_arguments(maker: Callable[[], Policy], schedule: Schedule) -> None:
    first, second = schedule.run(maker(), watch=False), schedule.run(maker(), watch=False)
    assert first.log == second.log


@given(schedule=schedules())
def test_a_recorded_run_replays_to_the_same_commands(maker: Callable[[], Policy], schedule: Schedule) -> None:
    log = schedule.run(maker(), watch=False).log
    fresh = Coordinator(schedule.settings, maker())
    assert [fresh.handle(event, now) for now, event, _ in log] == [commands for _, _, commands in log]
