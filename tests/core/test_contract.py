"""One contract that every policy keeps, whatever happens to the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given

from evener.core.coordinator import Coordinator
from evener.core.policies import POLICIES, Policy
from evener.testing.strategies import Schedule, schedules

VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "balanced": (
        *({"bound": bound, "stale_fraction": fraction} for bound, fraction in ((0, 0.1), (1, 0.0), (1, 0.25))),
        *({"bound": bound, "stale_fraction": fraction} for bound, fraction in ((1, 1.0), (2, 0.1), (2, 0.5))),
        {"bound": "auto", "stale_fraction": 0.5, "look_ahead": True},
    ),
    "asynchronous": ({"push": 2, "rate_scaling": "staleness"},),
    "stale": ({"bound": 0}, {"bound": 1, "push": 3}, {"bound": 5}),
    "dynamic": ({"s_min": 0, "s_max": 0}, {"s_min": 1, "s_max": 4}, {"s_min": 0, "s_max": 2, "push": 5}),
    "delayed": ({"delay": 1}, {"delay": 2, "push": 4}, {"delay": 5}),
}
"""Options beside the defaults, which are tried for every policy there is."""


@dataclass(frozen=True)
class Maker:
    """Makes a policy that suits a schedule, each time the same."""

    name: str
    options: dict[str, Any]

    def __call__(self, schedule: Schedule) -> Policy:
        options = dict(self.options)
        if "push" in options:
            batch = schedule.settings.batch
            options["push"] = max(min(options["push"], batch), min(2, batch))
        return POLICIES[self.name](**options)

    def __str__(self) -> str:
        return "-".join((self.name, *(f"{name}={value}" for name, value in self.options.items())))


MAKERS = [Maker(name, options) for name in POLICIES for options in ({}, *VARIANTS.get(name, ()))]


@pytest.fixture(params=MAKERS, ids=str)
def maker(request: pytest.FixtureRequest) -> Maker:
    made: Maker = request.param
    return made


@given(schedule=schedules())
def test_promises_hold_and_the_run_ends(maker: Maker, schedule: Schedule) -> None:
    outcome = schedule.run(maker(schedule))
    assert outcome.finish is not None
    # A short epoch may be refused, or declined, as a whole, by workers that each do so only now and then.
    reason = outcome.finish.reason
    refused = any(host.refused for host in schedule.cluster.hosts) and "refused" in reason
    declined = any(host.declines for host in schedule.cluster.hosts) and "never called optimizer.step()" in reason
    assert outcome.finish.ok or refused or declined


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
