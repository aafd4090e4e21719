"""The course of one number: each limit from both sides, in rounds of 64 samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from evener.core.series import ROUND, USUAL, WINDOW, Series


def course(*means: float) -> Series:
    """A series of rounds with these means."""
    series = Series()
    for mean in means:
        series.add([(mean, ROUND)])
    return series


def around(low: float, middle: float, high: float) -> list[float]:
    """A window, less the one round with which it is full, with these quartiles; its first five are the low ones."""
    return [low] * 5 + [middle] * 7 + [high] * 3


# Rounds -----------------------------------------------------------------------------------------------------


def test_a_round_is_as_many_steps_as_have_64_samples_weighted_by_them() -> None:
    series = Series()
    series.add([(1.0, 16), (3.0, 15)])
    assert series.first is None
    assert not series.recent
    series.add([])
    series.add([(5.0, 32)])
    assert series.first is None
    series.add([(2.0, 1)])
    assert series.first == pytest.approx((16 + 45 + 160 + 2) / 64)
    series.add([(7.0, 200)])
    assert list(series.recent) == [series.first, pytest.approx(7.0)]


def test_the_first_round_stays_the_first_and_the_lowest_contribution_the_lowest() -> None:
    series = course(4.0, 2.0)
    series.add([(9.0, 1), (-3.0, 1), (5.0, 1)])
    series.add([(1.0, 1)])
    assert (series.first, series.lowest) == (4.0, -3.0)


def test_what_three_quarters_of_a_window_reach_is_known_when_it_is_full() -> None:
    means = [float(1 + 7 * number % WINDOW) for number in range(WINDOW)]  # 1 to 16, in disorder
    assert math.isnan(course(*means[:-1]).now)
    assert course(*means).now == 5.0
    assert course(*means[:-1]).best == math.inf
    assert course(*means).best == 9.0
    assert course(100.0, *means).now == 5.0  # of the last window
    assert course(*means, *[50.0] * WINDOW).best == 9.0  # of any
    assert course(*means, *[3.0] * WINDOW).best == 3.0


# Losses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "limit"),
    [
        # Nothing is known yet.
        ([], math.inf),
        ([1.0] * (WINDOW - 1), math.inf),
        # Nine tenths of what it gained, if that was more than half of where it began.
        ([1.0] + [0.49] * WINDOW, 0.49 + 0.9 * 0.51),
        ([1.0] + [0.5] * WINDOW, 3.0),
        ([10.0] + [4.9] * WINDOW, 4.9 + 0.9 * 5.1),
        ([10.0] + [5.1] * WINDOW, 30.0),
        ([-10.0] + [-15.1] * WINDOW, -15.1 + 0.9 * 5.1),
        ([-10.0] + [-14.9] * WINDOW, math.inf),
        # And more than four times the distance of its quartiles, 2.
        ([10.1, *around(1.0, 2.0, 3.0)], 2.0 + 0.9 * 8.1),
        ([10.0, *around(1.0, 2.0, 3.0)], 30.0),
        # Three times where it began, or began in truth; or beyond it by twice the distance of the quartiles, 5.
        ([2.0] * WINDOW, 6.0),
        ([1.0] + [2.0] * WINDOW, 6.0),
        ([1.0] + [0.0] * 5 + [1.5] * 6 + [5.0] * 4, 1.5 + 2 * 5.0),
        # What a ratio means is not known.
        ([0.0] * WINDOW, math.inf),
        ([-1.0] * WINDOW, math.inf),
        ([1.0] * (WINDOW - 1) + [-0.1], math.inf),
        ([1.0] * (WINDOW - 1) + [0.0], 3.0),
        # Once blown up, in three rounds to more than four times where it began and what it is mostly, it must be back.
        ([1.0] * (WINDOW - 3) + [4.1] * 3, 1.2),
        ([2.0] * (WINDOW - 3) + [8.1] * 3, 2.4),
        ([1.0] * (WINDOW - 2) + [4.1] * 2, 3.0),
        ([1.0] * (WINDOW - 3) + [4.0] * 3, 3.0),
        ([1.0] + [2.0] * (WINDOW - 4) + [8.1] * 3, 1.2),
        ([1.0] + [2.0] * (WINDOW - 4) + [7.9] * 3, 6.0),
        ([2.0] + [1.0] * (WINDOW - 4) + [7.9] * 3, 6.0),
    ],
)
def test_the_limit_of_a_loss(means: Sequence[float], limit: float) -> None:
    assert course(*means).worst_loss() == pytest.approx(limit)


# Norms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "limit"),
    [
        ([], math.inf),
        ([1.0] + [101.0] * (WINDOW - 2), math.inf),
        ([0.0] + [101.0] * WINDOW, math.inf),
        ([1.0] + [100.0] * (WINDOW - 1), math.inf),
        ([1.0] + [101.0] * (WINDOW - 1), 100.0),  # nothing is before the window
        ([2.0] + [201.0] * WINDOW, 200.0),
        ([1.0] + [50.0] * 40 + [200.0] * WINDOW, 5000.0),
        ([10.0] + [1.0] * 40 + [2000.0] * WINDOW, 1000.0),
        # The usual value is that of the last 256 rounds, not of all.
        ([1.0] * 300 + [150.0] * (USUAL - 56) + [150.0] * WINDOW, 15000.0),
    ],
)
def test_the_limit_of_a_norm(means: Sequence[float], limit: float) -> None:
    assert course(*means).worst_norm() == pytest.approx(limit)


# What is said -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "limit", "said"),
    [
        ([], 0.0, ""),
        ([3.0] * WINDOW, 3.0, ""),
        ([3.0] * WINDOW, 2.9, "began at 3, and is 3 now"),
        ([3.0] * (WINDOW - 1), 2.9, ""),
        ([10.0] + [1.0] * WINDOW + [9.5] * WINDOW, 9.0, "began at 10, had come down to 1, and is 9.5 now"),
        ([10.0] + [9.1] * WINDOW, 9.0, "began at 10, and is 9.1 now"),
        ([10.0] + [8.9] * WINDOW, 8.0, "began at 10, had come down to 8.9, and is 8.9 now"),
        ([10.0] + [9.0] * WINDOW, 8.0, "began at 10, and is 9 now"),
        # At once, if three rounds are beyond a hundred times where it began, and nothing was ever below 0.
        ([2.0, 201.0, 1.0, 500.0, 201.0], math.inf, "began at 2 and rose to 500"),
        ([2.0, 201.0, 1.0, 500.0, 200.0], math.inf, ""),
        ([2.0, 201.0, 500.0], math.inf, ""),
        ([2.0, 201.0, 0.0, 500.0, 201.0], math.inf, "began at 2 and rose to 500"),
        ([2.0, 201.0, -0.1, 500.0, 201.0], math.inf, ""),
        ([0.0, 201.0, 201.0, 201.0], math.inf, ""),
        ([-1.0, 201.0, 201.0, 201.0], math.inf, ""),
        ([0.5, 51.0, 51.0, 51.0], math.inf, "began at 0.5 and rose to 51"),
    ],
)
def test_what_is_said_of_a_number_that_rose(means: Sequence[float], limit: float, said: str) -> None:
    assert course(*means).rose(limit, 100.0) == said
