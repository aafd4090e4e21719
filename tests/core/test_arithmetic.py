"""Ranges, plan, means: numbers in, numbers out."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import evener.core
import evener.simulation
import evener.testing
from evener.core import plan
from evener.core import ranges as r
from evener.core.members import Mean

PACKAGES = (evener.core, evener.simulation, evener.testing)
MODULES = [
    module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]

paces = st.floats(0.1, 1e4)
moments = st.floats(0.0, 100.0)
basins = st.lists(st.tuples(moments, paces, st.just(0)), min_size=1, max_size=8)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


# Ranges -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), max_size=8), st.randoms())
def test_what_is_taken_and_given_back_is_whole_again(sizes: list[int], random: object) -> None:
    pool: list[r.Range] = [(0, sum(sizes))] if sizes else []
    pieces = [r.take(pool, count) for count in sizes]
    assert [r.size(piece) for piece in pieces] == sizes
    assert pool == []
    random.shuffle(pieces)  # type: ignore[attr-defined]
    for piece in pieces:
        r.give_back(pool, piece)
    assert pool == ([(0, sum(sizes))] if sizes else [])


def test_positions_are_taken_in_order() -> None:
    pool = [(5, 7), (9, 20)]
    assert r.take(pool, 4) == ((5, 7), (9, 11))
    assert pool == [(11, 20)]


def test_more_than_there_is_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="more positions than it holds"):
        r.take([(0, 3)], 4)


def test_gaps_stay_gaps() -> None:
    pool = [(8, 9)]
    r.give_back(pool, ((0, 2), (4, 6)))
    assert pool == [(0, 2), (4, 6), (8, 9)]


# Plan -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5000), st.integers(1, 64))
def test_the_ladder_is_short_ascending_and_within_the_batch(batch: int, workers: int) -> None:
    sizes = plan.ladder(batch, workers)
    assert 1 <= len(sizes) <= 6
    assert list(sizes) == sorted(set(sizes))
    assert sizes[-1] <= batch
    assert sizes[0] >= min(2, batch)
    assert sizes[0] <= max(2, plan.USEFUL)


@given(basins, st.floats(0.0, 1e5))
def test_the_close_is_when_all_samples_are_placed(team: list[plan.Basin], samples: float) -> None:
    close = plan.close_time(team, samples)
    placed = sum(pace * max(0.0, close - start) for start, pace, _ in team)
    assert placed == pytest.approx(samples, rel=1e-6, abs=1e-3)


@given(basins, st.floats(1.0, 1e4), paces, moments)
def test_one_more_worker_never_delays_the_close(
    team: list[plan.Basin], samples: float, pace: float, start: float
) -> None:
    assert plan.close_time([*team, (start, pace, 1)], samples) <= plan.close_time(team, samples) + 1e-6


def test_without_workers_the_close_is_never() -> None:
    assert plan.close_time([], 1) == math.inf


@given(st.lists(st.floats(0.001, 100.0) | st.just(1.0), min_size=2, max_size=8), st.integers(1, 40))
def test_whole_tickets_of_all_but_each_at_once(seconds: list[float], tickets: int) -> None:
    one_by_one = [
        plan.whole_tickets([*seconds[:worker], *seconds[worker + 1 :]], tickets) for worker in range(len(seconds))
    ]
    assert plan.whole_tickets_without(seconds, tickets) == one_by_one


@given(st.integers(2, 2000), st.integers(1, 8), st.floats(0.0, 1.0), st.integers(1, 2000))
def test_a_ticket_fits_and_leaves_no_crumb(batch: int, workers: int, part: float, free: int) -> None:
    assume(free <= batch)
    sizes = plan.ladder(batch, workers)
    size = plan.ticket_size(sizes, part * free, free, 0.5)
    assert 1 <= size <= free
    assert free - size == 0 or free - size >= sizes[0] or size == sizes[0]
    assert size >= sizes[0] or size == free


def test_the_smallest_ticket_of_many_workers_is_two_samples() -> None:
    assert plan.ladder(12, 8)[0] == 2


def test_a_share_whose_part_is_too_small_for_a_ticket_is_given_at_once() -> None:
    assert plan.ticket_size((16, 24, 32), 26, 400, 0.5) == 24


def test_a_single_sample_that_would_be_left_goes_along() -> None:
    assert plan.ticket_size((16, 24, 32), 24, 25, 0.5) == 25


@given(st.lists(st.floats(2 * 16, 512.0), min_size=2, max_size=12))
def test_tickets_shrink_with_the_share(shares: list[float]) -> None:
    sizes = plan.ladder(512, 4)
    shares.sort()
    granted = [plan.ticket_size(sizes, share, 512, 0.5) for share in shares]
    assert granted == sorted(granted)


@given(st.floats(16, 2 * 16, exclude_max=True))
def test_the_last_ticket_of_a_share_is_all_of_it_that_makes_one(share: float) -> None:
    sizes = plan.ladder(512, 4)
    assert plan.ticket_size(sizes, share, 512, 0.5) == plan.floor_to(sizes, share)


@given(
    st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(1, 64)), max_size=8),
    st.floats(0.0, 200.0),
)
def test_runners_stay_within_the_budget(runners: list[tuple[float, int]], budget: float) -> None:
    team = [plan.Runner(index, saves, costs) for index, (saves, costs) in enumerate(runners)]
    chosen = plan.choose_runners(team, budget)
    spent = sum(runner.costs for runner in team if runner.worker in chosen)
    assert spent <= budget
    left_out = [runner for runner in team if runner.worker not in chosen]
    assert all(runner.costs > budget - spent for runner in left_out)


def test_who_saves_most_for_its_staleness_runs_first() -> None:
    team = [plan.Runner(0, 10, 20), plan.Runner(1, 15, 20), plan.Runner(2, 9, 20)]
    assert plan.choose_runners(team, 40) == {0, 1}


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_the_slower_and_the_noisier_the_more_cautious(part: float, other: float, noise: float, more: float) -> None:
    assert 0 < plan.caution(part, noise) <= 1
    assert plan.caution(min(part, other), max(noise, more)) <= plan.caution(max(part, other), min(noise, more))


def test_nobody_is_planned_with_less_for_noise_that_there_is_not() -> None:
    assert {plan.caution(part, noise=0.0) for part in (0.01, 0.3, 1.0)} == {1.0}


def test_the_nearest_sizes() -> None:
    sizes = (16, 24, 32)
    assert [plan.floor_to(sizes, wanted) for wanted in (3, 16, 31, 99)] == [16, 16, 24, 32]


def test_a_mean_follows_what_it_sees() -> None:
    mean = Mean(100.0)
    for _ in range(40):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0)
