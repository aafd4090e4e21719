"""Whether a contribution's numbers can be meant: finite, and not absurd. What is not is refused before it is added."""

from __future__ import annotations

import math

import numpy as np

from .statistics import Pool

ABSURD = 1e6
"""Times the largest of the run so far that a norm, or a weight, is if it is absurd. The watch warns far below that."""

LEARNT = 8
"""Contributions after which it is known what is usual in this run."""

MOST_WEIGHT = 2.0**53
"""A weight is a number of samples, tokens or pixels. Times a gradient whose norm is finite, it stays within float32."""

MOST_MEAN = 1e15
"""A mean of activations whose square, pooled, stays within float32."""


class Sanity:
    """Judges contributions, and learns from those that are sane.

    >>> sanity = Sanity()
    >>> [sanity.flaw(norm, 64.0) for norm in (0.0, *[2.0] * LEARNT)] == [""] * 9
    True
    >>> sanity.flaw(1e5, 64.0), sanity.flaw(1e12, 64.0)
    ('', 'the norm of its gradient, 1e+12, is absurd: the largest before it was 1e+05')
    """

    def __init__(self) -> None:
        self._seen = 0
        self._norm = self._weight = 0.0

    def flaw(self, norm: float, weight: float, pool: Pool | None = None) -> str:
        """Why these must not count; empty if they may.

        Args:
            norm: of the gradient; not finite if one of its values is not.
            weight: that it would have in its batch.
            pool: BatchNorm's moments.
        """
        if not 0 < weight <= MOST_WEIGHT:
            return f"a weight of {weight:g}"
        if not math.isfinite(norm):
            return "its gradient has values that are not finite (NaN or infinite)"
        if pool is not None and (why := _flaw_of(pool)):
            return f"its BatchNorm statistics {why}"
        if self._seen >= LEARNT:
            if norm > ABSURD * self._norm:
                return f"the norm of its gradient, {norm:.3g}, is absurd: the largest before it was {self._norm:.3g}"
            if weight > ABSURD * self._weight:
                return f"a weight of {weight:.3g}, which is absurd: the largest before it was {self._weight:.3g}"
        if norm > 0:  # a batch that has nothing to learn from says nothing about what is usual
            self._seen += 1
            self._norm, self._weight = max(self._norm, norm), max(self._weight, weight)
        return ""


def _flaw_of(pool: Pool) -> str:
    if not np.isfinite(pool.whole).all():
        return "have values that are not finite (NaN or infinite)"
    if (pool.counts < 0).any() or (pool.m2 < 0).any():
        return "have a negative count or variance"
    if (pool.counts > MOST_WEIGHT).any() or (abs(pool.mean) > MOST_MEAN).any() or (pool.m2 > MOST_MEAN**2).any():
        return "are absurd"
    return ""
