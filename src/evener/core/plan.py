"""Arithmetic of the balanced plan: ticket sizes, the forecast of a step's close, who may run ahead.

Pure functions of numbers, so that each can be checked by hand.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter, mul, sub
from statistics import NormalDist

USEFUL = 16
"""Smallest micro-batch that a device computes efficiently and that BatchNorm bears, in samples."""

LEAST = 8
"""The same for a worker that is too slow for a larger one, and would have to sit out."""

LADDER = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
"""Ticket sizes as multiples of the smallest: few sizes, so kernels and pace estimates settle."""


def ladder(batch: int, workers: int) -> tuple[int, ...]:
    """Ticket sizes for a batch of ``batch`` samples over ``workers`` workers, ascending.

    The smallest is :data:`USEFUL`, or ``batch / workers`` where that is less, and never under 2 unless the
    batch is.

    >>> ladder(512, 4)
    (16, 24, 32, 48, 64, 128)
    >>> ladder(32, 4)
    (8, 12, 16, 24, 32)
    """
    smallest = max(min(USEFUL, batch // max(1, workers)), min(2, batch))
    return tuple(sorted({min(batch, int(smallest * factor)) for factor in LADDER}))


def floor_to(sizes: Sequence[int], wanted: float) -> int:
    """The largest of ``sizes`` (ascending) that is at most ``wanted`` (the smallest if none is)."""
    return sizes[max(0, bisect_right(sizes, wanted) - 1)]


CRUMBS = 1.25
"""A worker takes the last samples of a step along if they are at most this multiple of its share."""

WORTHWHILE = 0.5
"""A share under this part of the smallest ticket is never worth a ticket."""

RAREST = 0.01
"""Chance of landing late below which it is not planned for: nobody knows durations that well."""

HOLDS_UP = 0.8
"""Part of the time by which one lands late that the others have nothing else to do."""

_NORMAL = NormalDist()

Basin = tuple[float, float, int]
"""A worker that can take part: the time from which its samples count, its samples/s, and who it is.

It counts, in effect, from the time at which it is ready and its push's time under way has passed.
"""

from_time = itemgetter(0)


def close_time(basins: Iterable[Basin], samples: float) -> float:
    """Solve ``Σ pace · max(0, F − from_time) = samples`` for the close ``F``.

    Workers fill up like connected basins: sorted by when they start to count, the level rises until all
    samples are placed. With no worker the close is never (``inf``).

    >>> close_time([(0.0, 10, 0), (1.0, 10, 1)], 30)
    2.0
    """
    ordered = sorted(basins, key=from_time)
    if not ordered:
        return math.inf
    starts, paces, _ = zip(*ordered, strict=True)
    flows = list(accumulate(paces))
    # What is placed when the level reaches each start.
    rises = map(sub, starts[1:], starts)
    placed: list[float] = list(accumulate(map(mul, flows, rises), initial=0.0))
    last = bisect_left(placed, samples, 1) - 1
    level: float = starts[last] + (samples - placed[last]) / flows[last]
    return level


def whole_tickets(seconds: Sequence[float], tickets: int) -> float:
    """When workers that take ``seconds`` each for a ticket have done ``tickets`` of them, each the next as it is free.

    >>> whole_tickets([1.0, 1.0, 1.0], 4), whole_tickets([1.0, 5.0], 4)
    (2.0, 4.0)
    """
    ends = [(each, each) for each in seconds]
    heapq.heapify(ends)
    for _ in range(tickets - 1):
        end, each = ends[0]
        heapq.heapreplace(ends, (end + each, each))
    return ends[0][0]


def whole_tickets_without(seconds: Sequence[float], tickets: int) -> list[float]:
    """For each of the workers: what :func:`whole_tickets` is of all the others.

    The ends of tickets are put into one order for all, so it costs about as much as two calls, not one for each.

    Raises:
        IndexError: there is one worker, or none.

    >>> whole_tickets_without([1.0, 5.0, 1.0], 4)
    [4.0, 2.0, 4.0]
    """
    merged = [(each, worker) for worker, each in enumerate(seconds)]
    heapq.heapify(merged)
    ends: list[float] = []
    own: list[list[int]] = [[] for _ in seconds]
    for at in range(2 * tickets):
        end, worker = merged[0]
        ends.append(end)
        own[worker].append(at)
        heapq.heapreplace(merged, (end + seconds[worker], worker))
    found = []
    for worker, places in enumerate(own):
        # The others' last ticket comes later by the worker's own that lie before it.
        before = next((count for count, at in enumerate(places) if at - count >= tickets), len(places))
        if before <= tickets:
            found.append(ends[tickets - 1 + before])
        else:  # more than half of them are its own, which is true of one worker at most
            found.append(whole_tickets([*seconds[:worker], *seconds[worker + 1 :]], tickets))
    return found


def caution(part: float, noise: float) -> float:
    """The part of its share that a worker is planned with, who has ``part`` of all paces.

    A newsvendor's choice (Arrow, Harris and Marschak 1951): landing late idles all others, landing early only itself,
    so it should land in time with probability ``1 − part``. Durations are taken to be log-normal; ``noise`` is the
    standard deviation of their logarithm, of which :data:`HOLDS_UP` counts.

    >>> [round(caution(part, noise=0.3), 2) for part in (1.0, 0.5, 0.25, 0.05)]
    [1.0, 1.0, 0.85, 0.67]
    """
    if part >= 0.5:  # or it would be given more than its share
        return 1.0
    return math.exp(-HOLDS_UP * noise * _NORMAL.inv_cdf(1.0 - max(part, RAREST)))


def worth(part: float) -> float:
    """The part of a smallest ticket that a share must have, of a worker with this part of all paces.

    A ticket larger than the share lands late and keeps the others waiting; none at all wastes the share. The smaller a
    worker's part, the more it would take from the others.

    >>> worth(0.1), worth(0.8)
    (0.9, 0.5)
    """
    return max(WORTHWHILE, 1 - part)


def ticket_size(sizes: Sequence[int], share: float, free: int, fraction: float) -> int:
    """Size of the next ticket for a worker whose share of the step's remainder is ``share`` samples.

    Guided self-scheduling (Polychronopoulos and Kuck 1987): a fraction of what is left, so that tickets shrink towards
    the close, down to the smallest useful size; then the rest of the share at once, never more: a worker that takes
    more than its share makes all others wait. A crumb smaller than the smallest ticket goes along where it fits the
    share; else a whole smallest ticket is left for somebody faster, if there is enough for that.

    >>> ticket_size((16, 24, 32, 48, 64, 128), 200, 400, 0.5)
    64
    >>> ticket_size((16, 24, 32, 48, 64, 128), 20, 23, 0.5)
    23
    >>> ticket_size((16, 24, 32, 48, 64, 128), 30, 39, 0.5)
    16
    """
    smallest = sizes[0]
    size = min(floor_to(sizes, share * fraction if share * fraction >= smallest else share), free)
    crumb = free - size
    if 0 < crumb < smallest:
        if free <= CRUMBS * share:
            return free
        if size > smallest:
            return floor_to(sizes, free - smallest)
    return size


@dataclass(frozen=True, slots=True)
class Runner:
    """A worker that would run ahead: it saves ``saves`` samples of waiting for ``costs`` stale samples a step."""

    worker: int
    saves: float
    costs: float


def choose_runners(runners: Iterable[Runner], budget: float) -> set[int]:
    """Those who may run ahead within ``budget`` stale samples a step, most saved per stale sample first.

    >>> sorted(choose_runners([Runner(0, 40, 48), Runner(1, 2, 16), Runner(2, 12, 16)], 64))
    [0, 2]
    """
    chosen: set[int] = set()
    order = sorted(runners, key=lambda one: (-one.saves / one.costs, -one.saves, one.worker))
    for one in order:
        if one.costs <= budget:
            chosen.add(one.worker)
            budget -= one.costs
    return chosen
