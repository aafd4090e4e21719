"""Quantities with units."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evener.simulation import units


@pytest.mark.parametrize(
    ("read", "given", "means"),
    [
        (units.seconds, 2, 2.0),
        (units.seconds, "10 ms", 0.01),
        (units.seconds, "1.5min", 90.0),
        (units.seconds, "2e2 us", 2e-4),
        (units.pace, "60 samples/min", 1.0),
        (units.rate, "100 Mbit/s", 1e8),
        (units.rate, "1 kB/s", 8e3),
        (units.size, "1 MiB", 1048576),
        (units.share, "5%", 0.05),
        (units.share, 0.05, 0.05),
    ],
)
def test_what_it_means(read: Callable[[object], float], given: object, means: float) -> None:
    assert read(given) == pytest.approx(means)


@pytest.mark.parametrize(
    ("read", "given", "says"),
    [
        (units.seconds, "10 fortnights", "no unit 'fortnights' for a time.*s, ms.*such as \"10 s\""),
        (units.seconds, "10", "a unit is missing in a time"),
        (units.seconds, "soon", "'soon' is not a time"),
        (units.seconds, True, "True is not a time"),
        (units.seconds, -1, "not negative, unlike -1"),
        (units.seconds, "-1 ms", "not negative, unlike -0.001"),
        (units.seconds, float("inf"), "finite"),
        (units.seconds, float("nan"), "finite"),
        (units.rate, 100, '100 is a rate without a unit.*such as "10 Mbit/s"'),
        (units.rate, "100 mbps", "no unit 'mbps'.*Mbit/s"),
        (units.size, "-1 MB", "not negative"),
    ],
)
def test_what_means_nothing(read: Callable[[object], float], given: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(given)
