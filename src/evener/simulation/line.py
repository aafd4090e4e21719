"""The line that a host's micro-batches lie on: ``seconds = overhead + samples / pace``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

STEEPEST = 1000.0
"""The pace is at most this multiple of the best rate: durations that do not grow with the samples leave it open."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a micro-batch takes.

    Attributes:
        overhead: seconds that each costs beyond its samples; not negative.
        pace: samples/s.
        error: root mean square of the relative distances of the measurements from the line.
    """

    overhead: float
    pace: float
    error: float

    def seconds(self, samples: int) -> float:
        """What a micro-batch of so many samples takes."""
        return self.overhead + samples / self.pace


def fit(seconds: Mapping[int, float]) -> Line:
    """The line that is nearest to measurements, by least squares of the relative distances.

    Relative, as a small micro-batch is to be met as well as a large one. Of one measurement, the line through it and
    zero.

    Args:
        seconds: of a micro-batch of each size (samples), positive.

    Raises:
        ValueError: there is nothing to fit, or something is not positive.

    >>> line = fit({10: 0.07, 20: 0.12, 40: 0.22})
    >>> round(line.overhead, 6), round(line.pace, 3), round(line.error, 6)
    (0.02, 200.0, 0.0)
    """
    if not seconds or not all(size > 0 and 0 < took < math.inf for size, took in seconds.items()):
        raise ValueError(f"a line needs measurements, of positive sizes and seconds, not {dict(seconds)}")
    # Minimise Σ (a·u + b·v − 1)² with u = 1/y and v = k/y, over a ≥ 0 and b ≥ least: a convex function of two
    # variables, so its minimum is inside, or on one of the two edges, or in their corner.
    pairs = [(1.0 / took, size / took) for size, took in seconds.items()]
    least = min(1.0 / v for _, v in pairs) / STEEPEST
    uu, vv = sum(u * u for u, _ in pairs), sum(v * v for _, v in pairs)
    uv = sum(u * v for u, v in pairs)
    su, sv = sum(u for u, _ in pairs), sum(v for _, v in pairs)
    found = [(0.0, max(least, sv / vv)), (max(0.0, (su - least * uv) / uu), least)]
    determinant = uu * vv - uv * uv
    if determinant > 1e-12 * uu * vv:
        a, b = (su * vv - sv * uv) / determinant, (uu * sv - uv * su) / determinant
        if a >= 0 and b >= least:
            found.append((a, b))

    def squares(line: tuple[float, float]) -> float:
        return sum((line[0] * u + line[1] * v - 1.0) ** 2 for u, v in pairs)

    best = min(found, key=squares)
    return Line(best[0], 1.0 / best[1], math.sqrt(squares(best) / len(pairs)))
