"""How fast a host was over time, from the durations of its micro-batches: a line whose pace changes now and then.

``seconds ≈ (cost + samples) / pace(t) · exp(ε)``, ``pace`` constant between a few changes, ``cost`` the overhead in
samples: what :class:`~evener.simulation.cluster.Host` computes, backwards. The shape is fitted robustly, as
micro-batches that were disturbed say little about the others; the level of each stretch is such that it takes as long
as it did in sum, as throughput is what is to be predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .shape import Array, Places, fit

Mask = NDArray[np.bool_]

BINS = 400
"""Stretches of equal count within which changes are looked for: their cost is its square."""

CHANGES = 40
"""More changes of pace than these are noise of another kind, or of no use to anybody who reads them."""

WORTHWHILE = 0.05
"""Neighbouring stretches whose paces differ by less than this are one."""

SHORTEST = 5
"""Micro-batches below which a stretch is no pace, but chance."""

DIFFER, CLEARLY = 1.5, 4.0
"""Sizes that differ by the first factor tell overhead from pace; if most do by the second, better than others'."""

TAILS = 1.3
"""A standard deviation is at most so many times what most durations suggest: a few outliers are no noise."""

STALLED = 3.0
"""A single micro-batch that took more than so many times what it should was held up: a stall, not its pace."""

LEAST_STALL = 0.1
"""Seconds under which being held up is noise."""

TAIL = 0.05
"""Of the time that is known, a last stretch shorter than that says nothing of what comes after it."""

_HUBER = 1.345
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Pacing:
    """What a host's micro-batches show.

    Attributes:
        pace: samples/s at first; ``paces``: ``(from, samples/s)`` of the changes, in order of time.
        overhead: seconds that each micro-batch costs beyond its samples, at ``pace``.
        noise: standard deviation of the logarithm of a duration.
        scatter: standard deviation of the seconds by which it was ahead or behind at an end, at ``pace``.
        stalls: ``(from, seconds)`` in which it did nothing.
        known: whether the sizes differ enough to tell overhead from pace.
    """

    pace: float
    paces: tuple[tuple[float, float], ...]
    overhead: float
    noise: float
    stalls: tuple[tuple[float, float], ...]
    known: bool
    scatter: float = 0.0


def pacing(
    begins: Sequence[float],
    sizes: Sequence[float],
    seconds: Sequence[float],
    overhead_samples: float | None = None,
    periods: bool = False,
) -> Pacing:
    """Fit a host's micro-batches.

    Args:
        begins: when each began, ascending.
        sizes: its samples.
        seconds: what it took; those that are not positive are left out.
        overhead_samples: what all hosts tell of the overhead, in samples; counts if this one's sizes hardly differ.
        periods: whether its pace comes in periods, as under a CPU quota: then durations vary as much whatever they are.

    Raises:
        ValueError: there is none.

    >>> found = pacing(range(12), [40, 80] * 6, [0.5, 0.9] * 3 + [1.0, 1.8] * 3)
    >>> round(found.pace), [(at, round(pace)) for at, pace in found.paces], round(found.overhead, 3)
    (100, [(6.0, 50)], 0.1)
    """
    at, size, took = (np.asarray(values, dtype=np.float64) for values in (begins, sizes, seconds))
    use = (took > 0) & (size > 0)
    at, size, took = at[use], size[use], took[use]
    if not len(took):
        raise ValueError("a pace needs micro-batches that took some time")
    known = bool(size.max() >= DIFFER * size.min())
    low, high = np.quantile(size, (0.1, 0.9))
    hint = overhead_samples if high < CLEARLY * low else None
    stalled = np.zeros(len(took), dtype=bool)
    cost = hint or 0.0
    cuts = [0]
    slopes: Array = np.ones(1)
    stretches: Places = np.zeros(len(took), dtype=np.int64)
    for _ in range(_ROUNDS):
        fine = ~stalled
        cuts = _changes(np.log(took / (size + cost))[fine])
        stretches = _numbered(fine, cuts)
        if known and hint is None:
            [cost], _, _ = fit(size[fine], took[fine], np.ones((1, fine.sum())), stretches[fine])
        slopes = _slopes(size + cost, took, stretches, len(cuts), fine)
        expected = slopes[stretches] * (size + cost)
        noise = _spread(np.log(took[fine] / expected[fine]))
        stalled = _single(took, expected, noise)
    fine = ~stalled
    expected = slopes[stretches] * (size + cost)
    relative = np.log(took[fine] / expected[fine])
    noise, scatter = _noises(relative, (size + cost)[fine], periods)
    paces = _levels(at, size + cost, took, stretches, fine, slopes, math.exp(noise**2 / 2))
    stalls = tuple(
        (float(at[i] + expected[i] / 2), float(took[i] - expected[i])) for i in np.flatnonzero(stalled).tolist()
    )
    pace = paces[0][1]
    overhead = float(cost) / pace
    return Pacing(pace, tuple(paces[1:]), overhead, noise, stalls, known or hint is not None, scatter / pace)


def _noises(relative: Array, work: Array, periods: bool) -> tuple[float, float]:
    """How much durations vary: as a logarithm's standard deviation, or at each end of one, in samples."""
    if len(relative) < 2:
        return 0.0, 0.0
    if not periods:
        return min(float(np.std(relative)), TAILS * _spread(relative)), 0.0
    late = relative * work
    return 0.0, min(float(np.std(late)), TAILS * _spread(late)) / math.sqrt(2.0)


def _spread(values: Array) -> float:
    """A standard deviation that outliers hardly move."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def _single(took: Array, expected: Array, noise: float) -> Mask:
    """Micro-batches that were held up, each between two that were not: several in a row are a pace."""
    factor = max(STALLED, math.exp(5 * noise))
    late = (took > factor * expected) & (took - expected > LEAST_STALL)
    beside = np.zeros(len(took), dtype=bool)
    beside[1:] |= late[:-1]
    beside[:-1] |= late[1:]
    return late & ~beside


def _numbered(fine: Mask, cuts: Sequence[int]) -> Places:
    """The stretch of each micro-batch, those that were held up included; ``cuts`` count those that were not."""
    place = np.maximum(np.cumsum(fine) - 1, 0)
    numbered: Places = np.searchsorted(np.asarray(cuts), place, side="right") - 1
    return numbered


# Changes of pace --------------------------------------------------------------------------------------------


def _changes(slowness: Array) -> list[int]:
    """Where stretches of one level begin, the first at 0: least squares with a price for each further stretch.

    Optimal partitioning (Jackson et al. 2005) over at most :data:`BINS` medians, each boundary then moved to its place.
    """
    count = len(slowness)
    if count < 2 * SHORTEST:
        return [0]
    edges = np.unique(np.linspace(0, count, min(BINS, count) + 1).astype(int))
    starts = edges[:-1]
    levels = np.array([np.median(slowness[a:b]) for a, b in pairwise(edges)])
    steps = np.abs(np.diff(levels))
    sigma = max(1.4826 * float(np.median(steps)) / math.sqrt(2.0), 0.01)
    calm = _winsorised(levels, 3 * sigma)
    price = 3.0 * sigma**2 * math.log(len(levels)) + sigma**2
    least = math.ceil(SHORTEST * len(levels) / count)
    while len(cuts := _partition(calm, price, least)) > CHANGES:
        price *= 2.0
    return _merged(slowness, _moved(slowness, [int(starts[cut]) for cut in cuts], count // len(levels)))


def _winsorised(levels: Array, most: float) -> Array:
    """No further than ``most`` from the median of its neighbourhood: one outlier is no stretch."""
    padded = np.pad(levels, 2, mode="reflect") if len(levels) > 2 else levels
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1) if len(levels) > 2 else levels
    return np.clip(levels, around - most, around + most)


def _partition(levels: Array, price: float, least: int) -> list[int]:
    count = len(levels)
    first = np.concatenate([[0.0], np.cumsum(levels)])
    second = np.concatenate([[0.0], np.cumsum(levels**2)])
    best = np.full(count + 1, np.inf)
    best[0] = -price
    before = np.zeros(count + 1, dtype=int)
    for end in range(least, count + 1):
        start = np.arange(0, end - least + 1)
        length = end - start
        squares = second[end] - second[start] - (first[end] - first[start]) ** 2 / length
        costs = best[start] + squares + price
        chosen = int(np.argmin(costs))
        best[end], before[end] = costs[chosen], chosen
    cuts = []
    end = count
    while end > 0:
        end = int(before[end])
        cuts.append(end)
    return cuts[::-1]


def _moved(values: Array, cuts: list[int], by: int) -> list[int]:
    """Each boundary within ``by`` places of where the bins put it, to where it separates the two levels best."""
    ends = [*cuts[1:], len(values)]
    means = [float(np.median(values[a:b])) for a, b in zip(cuts, ends, strict=True)]
    moved = [0]
    for index, cut in enumerate(cuts[1:], 1):
        low, high = max(moved[-1] + 1, cut - by), min(ends[index] - 1, cut + by)
        if low >= high:
            moved.append(cut)
            continue
        near = values[low:high]
        gain = (near - means[index - 1]) ** 2 - (near - means[index]) ** 2
        moved.append(low + int(np.argmin(np.concatenate([[0.0], np.cumsum(gain)]))))
    return moved


def _merged(values: Array, cuts: list[int]) -> list[int]:
    """Without boundaries between levels that hardly differ, the least first."""
    cuts = list(cuts)
    while len(cuts) > 1:
        levels = [float(np.median(values[a:b])) for a, b in zip(cuts, [*cuts[1:], len(values)], strict=True)]
        steps = [abs(b - a) for a, b in pairwise(levels)]
        smallest = min(range(len(steps)), key=steps.__getitem__)
        if steps[smallest] >= WORTHWHILE:
            break
        del cuts[smallest + 1]
    return cuts


# Lines ------------------------------------------------------------------------------------------------------


def _slopes(work: Array, took: Array, stretches: Places, count: int, fine: Mask) -> Array:
    """Seconds per sample of each stretch: relative least squares with Huber's weights; ``work`` in samples."""
    rate = work / took
    weight: Array = fine.astype(np.float64)
    slopes: Array = np.ones(count)
    for _ in range(12):
        squares = np.bincount(stretches, weight * rate**2, minlength=count)
        slopes = np.bincount(stretches, weight * rate, minlength=count) / np.where(squares > 0, squares, 1.0)
        relative = slopes[stretches] * rate - 1.0
        limit = _HUBER * max(_spread(relative[fine]), 1e-6)
        weight = np.where(fine, np.minimum(1.0, limit / np.maximum(np.abs(relative), 1e-12)), 0.0)
    return np.maximum(slopes, 1e-12)


def _levels(
    at: Array, work: Array, took: Array, stretches: Places, fine: Mask, slopes: Array, mean: float
) -> list[tuple[float, float]]:
    """From when and at what pace, such that each stretch takes as long as it did; noise makes ``mean`` times that."""
    found = []
    for stretch in range(len(slopes)):
        mine: Mask = np.equal(stretches, stretch)
        if not mine.any():
            continue
        counted: Mask = np.logical_and(mine, fine)
        slope = float(slopes[stretch])
        if counted.any():
            slope = float(took[counted].sum()) / mean / float(work[counted].sum())
        found.append((float(at[mine][0]), 1.0 / slope))
    if len(found) > 1 and found[-1][0] > at[-1] - TAIL * (at[-1] - at[0]):
        found.pop()
    return found
