"""Paces over time: how long a micro-batch takes a host whose samples/s change."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter

Changes = tuple[tuple[float, float], ...]
"""``(from, samples/s)``, in order of time."""

Slows = tuple[tuple[float, float, float], ...]
"""``(from, seconds, factor)``: the pace is multiplied by the factor for so long."""

_from = itemgetter(0)


def phase(pace: float, changes: Changes, period: float | None, slows: Slows, time: float) -> tuple[float, float]:
    """The samples/s at ``time``, and until when they hold.

    Args:
        pace: samples/s until the first change.
        changes: the pace from then on; with a ``period`` (s), of each turn.
        period: seconds after which all begins anew; ``None``: never.
        slows: in which it is slower.
        time: seconds.

    >>> phase(100.0, ((5.0, 50.0),), 8.0, (), time=6.0), phase(100.0, ((5.0, 50.0),), 8.0, (), time=9.0)
    ((50.0, 8.0), (100.0, 13.0))
    """
    begun = 0.0
    until = math.inf
    if period is not None:
        begun = math.floor(time / period) * period
        if begun + period <= time:  # where the division was rounded down
            begun += period
        until = begun + period
    if changes:
        # What counts is begun + from, as it is rounded.
        at = bisect_right(changes, time - begun, key=_from)
        while at < len(changes) and begun + changes[at][0] <= time:
            at += 1
        while at and begun + changes[at - 1][0] > time:
            at -= 1
        if at:
            pace = changes[at - 1][1]
        if at < len(changes):
            until = begun + changes[at][0]
    for start, length, factor in slows:
        if start <= time < start + length:
            pace *= factor
            until = min(until, start + length)
        elif time < start:
            until = min(until, start)
    return pace, until


def rotated(paces: Sequence[float], every: float) -> list[Changes]:
    """For each of these paces its changes where they move round: each ``every`` seconds it becomes the next one.

    >>> rotated([400.0, 100.0], every=10.0)[0]
    ((0.0, 400.0), (10.0, 100.0))
    """
    count = len(paces)
    return [
        tuple((step * every, paces[(index + step) % count]) for step in range(count)) for index in range(len(paces))
    ]
