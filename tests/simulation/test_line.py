"""The line through a machine's measurements."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.simulation.line import STEEPEST, fit

SIZES = st.integers(1, 4096)
SECONDS = st.floats(1e-6, 1e3)
MEASURED = st.dictionaries(SIZES, SECONDS, min_size=1, max_size=8)


def error(seconds: dict[int, float], overhead: float, pace: float) -> float:
    """What :func:`fit` makes as small as it can, written out again."""
    relative = [(overhead + size / pace) / took - 1 for size, took in seconds.items()]
    return math.sqrt(sum(one * one for one in relative) / len(relative))


@given(
    st.sets(SIZES, min_size=2, max_size=8),
    st.one_of(st.just(0.0), st.floats(1e-4, 1.0)),
    st.floats(1.0, 1e5),
)
def test_what_lies_on_a_line_is_met(sizes: set[int], overhead: float, pace: float) -> None:
    seconds = {size: overhead + size / pace for size in sizes}
    line = fit(seconds)
    assert line.error < 1e-4
    for size, took in seconds.items():
        assert line.seconds(size) == pytest.approx(took, rel=1e-3)


def test_overhead_and_pace_are_told_apart() -> None:
    line = fit({size: 0.01 + size / 400 for size in (8, 16, 32, 64)})
    assert line.overhead == pytest.approx(0.01)
    assert line.pace == pytest.approx(400)


@given(MEASURED)
def test_it_is_a_host_whatever_was_measured(seconds: dict[int, float]) -> None:
    line = fit(seconds)
    assert line.overhead >= 0
    assert 0 < line.pace <= STEEPEST * max(size / took for size, took in seconds.items()) * 1.001
    assert line.error == pytest.approx(error(seconds, line.overhead, line.pace), abs=1e-6)


@given(MEASURED, st.floats(0.0, 2.0), st.floats(1e-2, 1.0))
def test_no_other_line_is_nearer(seconds: dict[int, float], overhead: float, pace: float) -> None:
    best = max(size / took for size, took in seconds.items())
    other = overhead * max(seconds.values()), pace * STEEPEST * best
    assert fit(seconds).error <= error(seconds, *other) + 1e-6


@given(MEASURED, st.floats(0.1, 10.0))
def test_a_machine_so_many_times_slower(seconds: dict[int, float], factor: float) -> None:
    line, slower = fit(seconds), fit({size: took * factor for size, took in seconds.items()})
    assert slower.error == pytest.approx(line.error, abs=1e-6)


def test_of_one_measurement_the_rate() -> None:
    line = fit({32: 0.08})
    assert line.overhead == line.error == 0.0
    assert line.pace == pytest.approx(400)


def test_durations_that_do_not_grow() -> None:
    line = fit({8: 0.01, 16: 0.01, 32: 0.01})
    assert line.seconds(8) == pytest.approx(line.seconds(32), rel=0.01)
    assert sum(line.seconds(size) for size in (8, 16, 32)) == pytest.approx(0.03, rel=1e-9)


def test_durations_that_shrink() -> None:
    assert fit({8: 0.02, 16: 0.01}).seconds(16) > 0


@pytest.mark.parametrize("seconds", [{}, {0: 1.0}, {8: 0.0}, {8: -1.0}, {8: float("inf")}, {8: float("nan")}])
def test_nothing_to_fit(seconds: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="a line needs measurements"):
        fit(seconds)
