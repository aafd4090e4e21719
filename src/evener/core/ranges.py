"""Half-open ranges of positions, the currency of tickets and pools."""

from __future__ import annotations

Range = tuple[int, int]
"""``(start, stop)``: the positions ``start … stop − 1`` of an epoch's sample order."""


def size(ranges: tuple[Range, ...] | list[Range]) -> int:
    """Number of positions in ``ranges``.

    >>> size([(0, 4), (10, 11)])
    5
    """
    count = 0
    for start, stop in ranges:  # most often one
        count += stop - start
    return count


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


def without(count: int, ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The positions below ``count`` that are in none of ``ranges``.

    >>> without(10, ((6, 8), (0, 4)))
    ((4, 6), (8, 10))
    """
    rest: list[Range] = []
    at = 0
    for start, stop in sorted(ranges):
        if start > at:
            rest.append((at, start))
        at = max(at, stop)
    if at < count:
        rest.append((at, count))
    return tuple(rest)


class Spans:
    """Positions that come together over time, kept as few ranges.

    >>> spans = Spans()
    >>> spans.add(((4, 8),)); spans.add(((0, 4), (9, 10)))
    >>> spans.merged()
    ((0, 8), (9, 10))
    """

    __slots__ = ("_ranges", "_room")

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._room = 64

    def add(self, ranges: tuple[Range, ...]) -> None:
        """These positions come to them."""
        self._ranges.extend(ranges)
        if len(self._ranges) > self._room:
            self._room = 64 + 2 * len(self.merged())  # so that merging costs little, however many there are

    def merged(self) -> tuple[Range, ...]:
        """All of them, in order."""
        give_back(self._ranges, ())
        return tuple(self._ranges)


def block(span: Range, at: int, size: int) -> Range:
    """The block that begins at position ``at`` when ``span`` is cut into blocks of ``size`` from its start.

    A last block of one position joins its neighbour: alone it would be a micro-batch that BatchNorm cannot normalise.

    Args:
        span: what is cut.
        at: where a block begins.
        size: positions of a block, at least 2.

    Raises:
        ValueError: no block begins there.

    >>> block((100, 110), 104, 4)
    (104, 108)
    >>> block((100, 109), 104, 4)
    (104, 109)
    """
    start, stop = span
    if not start <= at < stop or (at - start) % size or (at + 1 == stop and at > start):
        raise ValueError(f"no block of {size} begins at {at} in {start} to {stop}")
    end = min(at + size, stop)
    return at, end + 1 if end + 1 == stop else end
