"""When checkpoints are due: how much is lost with a server, and what it costs not to lose more."""

from __future__ import annotations

from itertools import pairwise

import pytest

from evener.runtime.schedule import Schedule


def taken(schedule: Schedule, until: float, cost: float = 0.0, tick: float = 0.25) -> list[float]:
    """The times at which checkpoints are taken, each step taking ``tick``."""
    times = []
    for step in range(int(until / tick) + 1):
        if schedule.due(step * tick, version=step, cost=cost):
            schedule.taken(step * tick)
            times.append(step * tick)
    return times


def test_a_run_that_begins_has_one_at_once_and_then_every_so_often() -> None:
    assert taken(Schedule(10.0), until=30.0) == [0.0, 10.0, 20.0, 30.0]


def test_none_is_due_where_none_are_wanted() -> None:
    assert taken(Schedule(0.0), until=30.0) == []
    assert not Schedule(0.0).overdue(1e9)


@pytest.mark.parametrize("cost", [0.05, 0.3, 2.0])
def test_their_cost_stays_below_the_share(cost: float) -> None:
    times = taken(Schedule(10.0, share=0.01), until=2000.0, cost=cost)
    assert len(times[1:]) * cost <= 0.01 * 2000.0
    assert len(times) > 0.009 * 2000.0 / max(cost, 0.1), "and no fewer than that asks for"


@pytest.mark.parametrize("life", [1.0, 3.0, 20.0, 300.0])
def test_a_server_that_went_on_keeps_half_of_what_it_does_however_soon_it_is_lost(life: float) -> None:
    times = taken(Schedule(60.0, resumed=0), until=life)
    assert life - times[-1] <= max(life / 2, 0.25)
    assert life - times[-1] <= 60.0
    late = [after - before for before, after in pairwise(times) if before > 60.0]
    assert all(gap == 60.0 for gap in late)


def test_the_one_it_went_on_from_is_not_taken_again() -> None:
    schedule = Schedule(60.0, resumed=7)
    assert not schedule.due(1000.0, version=7)
    assert schedule.due(1000.0, version=8)


def test_it_is_overdue_only_when_the_user_would_miss_it() -> None:
    schedule = Schedule(60.0, resumed=0)
    schedule.taken(1.0)
    assert schedule.due(3.0, version=9)
    assert not schedule.overdue(3.0)
    assert schedule.overdue(61.0)
