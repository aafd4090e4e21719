"""Half-open ranges of positions, the currency of tickets and pools."""

from __future__ import annotations

Range = tuple[int, int]
"""``(start, stop)``: the positions ``start … stop − 1`` of an epoch's sample order."""


def size(ranges: tuple[Range, ...] | list[Range]) -> int:
    """Number of positions in ``ranges``.

    >>> size([(0, 4), (10, 11)])
    5
    """
    return sum(stop - start for start, stop in ranges)


def take(pool: list[Range], count: int) -> tuple[Range, ...]:
    """Remove the first ``count`` positions from ``pool`` (in place) and return them.

    Raises:
        ValueError: the pool holds fewer positions than asked for.

    >>> pool = [(0, 4), (10, 14)]
    >>> take(pool, 5), pool
    (((0, 4), (10, 11)), [(11, 14)])
    """
    taken: list[Range] = []
    while count > 0:
        if not pool:
            raise ValueError("a pool was asked for more positions than it holds")
        start, stop = pool[0]
        cut = min(stop, start + count)
        taken.append((start, cut))
        count -= cut - start
        if cut == stop:
            pool.pop(0)
        else:
            pool[0] = (cut, stop)
    return tuple(taken)


def give_back(pool: list[Range], ranges: tuple[Range, ...]) -> None:
    """Put ``ranges`` back into ``pool`` (in place), kept sorted and merged.

    >>> pool = [(11, 14)]
    >>> give_back(pool, ((0, 4), (10, 11)))
    >>> pool
    [(0, 4), (10, 14)]
    """
    pool.extend(ranges)
    pool.sort()
    merged: list[Range] = []
    for start, stop in pool:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    pool[:] = merged
