"""One contract that every policy keeps, whatever happens to the workers."""

from __future__ import annotations

import pytest
from hypothesis import given

from evener.core.coordinator import Coordinator
from evener.testing.makers import MAKERS, Maker
from evener.testing.strategies import Schedule, schedules


@pytest.fixture(params=MAKERS, ids=str)
def maker(request: pytest.FixtureRequest) -> Maker:
    made: Maker = request.param
    return made


@given(schedule=schedules())
def test_promises_hold_and_the_run_ends(maker: Maker, schedule: Schedule) -> None:
    schedule.prove(maker(schedule))


@given(schedule=schedules(faults=False))
def test_without_faults_every_position_is_applied(maker: Maker, schedule: Schedule) -> None:
    outcome = schedule.run(maker(schedule))
    wanted = schedule.positions
    if schedule.settings.drop_last:
        wanted -= wanted % schedule.settings.batch
    assert outcome.finish is not None
    assert outcome.finish.reason == "complete"
    assert outcome.applied == wanted * schedule.settings.epochs


@given(schedule=schedules())
def test_a_run_is_a_function_of_its_arguments(maker: Maker, schedule: Schedule) -> None:
    first, second = schedule.run(maker(schedule), watch=False), schedule.run(maker(schedule), watch=False)
    assert first.log == second.log


@given(schedule=schedules())
def test_a_recorded_run_replays_to_the_same_commands(maker: Maker, schedule: Schedule) -> None:
    log = schedule.run(maker(schedule), watch=False).log
    fresh = Coordinator(schedule.settings, maker(schedule))
    assert [fresh.handle(event, now) for now, event, _ in log] == [commands for _, _, commands in log]
