"""A coordinator that goes on from where another stood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import Asynchronous, Balanced
from evener.core.standing import TICKETS, EpochStanding, Standing
from evener.core.state import Settings
from evener.testing.makers import MAKERS, Maker
from evener.testing.resumed import prove_resumed
from evener.testing.schedules import of_seed

SETTINGS = Settings(batch=32, epochs=2)


@pytest.mark.parametrize("maker", MAKERS, ids=str)
def test_each_position_counts_once_whenever_the_server_is_lost(maker: Maker) -> None:
    lost = sum(prove_resumed(of_seed(seed), maker, seed) for seed in range(12))
    assert lost > 0


def _grants(commands: list[c.Command]) -> list[c.Grant]:
    return [command for command in commands if isinstance(command, c.Grant)]


def test_a_run_that_has_not_begun_stands_at_its_beginning() -> None:
    assert Coordinator(SETTINGS, Asynchronous()).standing() == Standing()


def test_what_no_step_contains_is_handed_out_again() -> None:
    run = Coordinator(SETTINGS, Balanced(bound=0))
    run.handle(e.Joined(0, pace=100.0), 0.0)
    first = _grants(run.handle(e.EpochDrawn(0, positions=64), 0.0))[0]
    run.handle(e.Started(0, first.ticket, 0), 0.1)
    run.handle(e.Computed(0, first.ticket, 0.1), 0.2)
    run.handle(e.Arrived(0, 0, (first.ticket,), (0,), float(sum(b - a for a, b in first.ranges)), "ok"), 0.3)
    standing = run.standing()
    assert standing is not None
    assert standing.epochs == (EpochStanding(0, 64),)
    resumed = Coordinator(SETTINGS, Balanced(bound=0), replace(standing, resumed=1))
    again = _grants(resumed.handle(e.Joined(0, pace=100.0), 0.0))
    assert again[0].ranges[0][0] == 0
    assert again[0].ticket >= TICKETS  # nothing said about a ticket of the server that was lost is taken for this one


def test_no_standing_while_a_step_is_under_way() -> None:
    run = Coordinator(Settings(batch=4, epochs=1), Asynchronous(push=4))
    run.handle(e.Joined(0, pace=100.0), 0.0)
    ticket = _grants(run.handle(e.EpochDrawn(0, positions=8), 0.0))[0].ticket
    run.handle(e.Started(0, ticket, 0), 0.1)
    commands = run.handle(e.Arrived(0, 0, (ticket,), (0,), 4.0, "ok"), 0.3)
    assert any(isinstance(command, c.Step) for command in commands)
    assert run.standing() is None
    run.handle(e.StepDone(1, 0.01), 0.4)
    standing = run.standing()
    assert standing is not None
    assert standing.epochs == (EpochStanding(0, 8, applied=((0, 4),), quota=8),)


def test_a_resumed_run_waits_for_nobody_but_the_first() -> None:
    settings = Settings(batch=32, epochs=1, workers=3)
    resumed = Coordinator(settings, Balanced(), Standing(3, 0, (EpochStanding(0, 320, applied=((0, 96),)),)))
    grants = _grants(resumed.handle(e.Joined(1, version=3, pace=100.0), 0.0))
    assert grants[0].step == 3
    assert grants[0].ranges[0][0] == 96


def test_the_staleness_budget_is_remembered() -> None:
    policy = Balanced()
    policy.recall((("bank", -7.5),))
    assert policy.memory() == (("bank", -7.5),)
