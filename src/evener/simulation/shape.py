"""What micro-batches cost beside their samples, in samples: the same for all hosts of a run, whatever their speed.

``seconds ≈ (k + overhead + push · pushed + pull · pulled) / pace`` for ``k`` samples: what a host does for a
micro-batch, for a push and for a set of parameters is work of its processor, as its samples are. A fast host's sizes
differ and tell what each of these is; a slow one, whose micro-batches all have the least size, tells its pace alone.

The longer a micro-batch takes, the likelier it is that parameters come meanwhile. So what they cost is told by those
that come early, at a time when nearly all are still being computed (an instrumental variable).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]

EARLY = 0.5
"""Parameters come early that come in this part of what a micro-batch takes on the mean."""

BLOCK = 24
"""Micro-batches of a host that are taken to have one pace: it may change over time."""

LEAST = 12
"""Micro-batches, of all hosts, from which something is said."""

DIFFERS = 0.1
"""Of a cost's part of the whole, standard deviation within a pace's micro-batches: with less, it is not to be told."""

SURE = 2.0
"""So many times its standard error must the cost of a transfer be."""

_HUBER = 1.345
_ROUNDS = 25
_AGAIN = 4


@dataclass(frozen=True, slots=True)
class Batches:
    """A host's micro-batches, in order.

    Attributes:
        sizes, seconds: samples, and what each took.
        gaps: seconds from the beginning of the push before it to its own (infinite: no push was before it).
        pulled, came: sets of parameters that came during it, and when the first did, in seconds from its beginning
            (infinite: none).
    """

    sizes: Array
    seconds: Array
    gaps: Array
    pulled: Array
    came: Array

    def split(self, cuts: Sequence[int]) -> list[Batches]:
        """Those before each of the places, ascending, and those after the last."""
        columns = (np.split(values, cuts) for values in (self.sizes, self.seconds, self.gaps, self.pulled, self.came))
        return [Batches(*part) for part in zip(*columns, strict=True) if len(part[0])]


@dataclass(frozen=True, slots=True)
class Shape:
    """Costs in samples; not negative.

    Attributes:
        overhead: of each micro-batch.
        push, pull: of a push, of parameters that come during a micro-batch.
        known: whether sizes differ enough to tell the overhead.
    """

    overhead: float = 0.0
    push: float = 0.0
    pull: float = 0.0
    known: bool = False

    def plain(self, host: Batches) -> Array:
        """What a host's micro-batches would have taken without transfers, in seconds."""
        alone = host.sizes + self.overhead
        blocks = _blocks([len(alone)])
        total = alone
        for _ in range(_AGAIN):
            pushed = _pushed(host.gaps, _paces(total, host.seconds, blocks), self.push)
            total = alone + self.push * pushed + self.pull * host.pulled
        seconds: Array = host.seconds * alone / total
        return seconds


def shape(hosts: Sequence[Batches]) -> Shape:
    """Fit the costs over all hosts, each block of some micro-batches at its own pace.

    >>> sizes = np.array([16.0, 32.0, 64.0, 128.0] * 12)
    >>> pushed = np.array([0.0, 0.0, 1.0] * 16)
    >>> gaps = np.where(pushed, 0.0, np.inf)
    >>> never = np.full(48, np.inf)
    >>> found = shape([Batches(sizes, (sizes + 8 + 20 * pushed) / pace, gaps, 0 * sizes, never) for pace in (400, 50)])
    >>> round(found.overhead, 3), round(found.push, 3), found.pull, found.known
    (8.0, 20.0, 0.0, True)
    """
    if sum(len(host.sizes) for host in hosts) < LEAST:
        return Shape()
    sizes, seconds, gaps, pulled, came = (
        np.concatenate([getattr(host, name) for host in hosts])
        for name in ("sizes", "seconds", "gaps", "pulled", "came")
    )
    blocks = _blocks([len(host.sizes) for host in hosts])
    early = came < EARLY * sizes / _paces(sizes, seconds, blocks)
    found = np.zeros(3)
    total = sizes
    for _ in range(_AGAIN):
        # How much of a push was still to be done is known once its cost is.
        pushed = _pushed(gaps, _paces(total, seconds, blocks), found[1])
        columns = np.stack([np.ones_like(sizes), pushed, pulled])
        instruments = np.stack([*columns[:2], early])
        found, errors, usable = fit(sizes, seconds, columns, blocks, instruments, DIFFERS)
        total = sizes + found @ columns
    sure = found * (found > SURE * errors)
    return Shape(float(found[0]), float(sure[1]), float(sure[2]), bool(usable[0]))


def _paces(work: Array, seconds: Array, blocks: Places) -> Array:
    """Samples/s of each micro-batch's block."""
    faster = np.log(work / seconds)
    paces: Array = np.exp(faster - _centred(faster, blocks, np.ones_like(faster)))
    return paces


def _pushed(gaps: Array, paces: Array, push: float) -> Array:
    """The part of a push that is still to be done when a micro-batch begins."""
    gaps = np.minimum(gaps, 1e9)
    left: Array = np.clip(1.0 - gaps * paces / max(push, 1.0), 0.0, 1.0)
    return left


def fit(
    sizes: Array, seconds: Array, columns: Array, blocks: Places, instruments: Array | None = None, differs: float = 0.0
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Costs in samples, such that ``seconds ≈ (sizes + costs @ columns) / pace`` with a pace for each block.

    Gauss-Newton on the logarithms, with Huber's weights; no cost gets negative.

    Args:
        sizes, seconds: of each micro-batch.
        columns: how often each of the costs was paid, by cost and micro-batch.
        blocks: which pace each has, numbered from 0.
        instruments: in place of columns that depend on the durations, others that go with them and do not.
        differs: a cost whose part of the whole has a smaller standard deviation than this within the blocks stays 0.

    Returns:
        The costs, their standard errors (each for itself), and which could be told.
    """
    found = np.zeros(len(columns))
    weight = np.ones_like(sizes)
    parts = np.stack([sizes * _centred(column / sizes, blocks, weight) for column in columns])
    usable = np.sqrt(np.mean(parts**2, axis=1)) > differs
    for _ in range(_ROUNDS):
        total = sizes + found @ columns
        residual = _centred(np.log(seconds) - np.log(total), blocks, weight)
        slopes = np.stack([_centred(column / total, blocks, weight) for column in columns])
        by = slopes if instruments is None else np.stack([_centred(one / total, blocks, weight) for one in instruments])
        free = usable & ((found > 0) | (by @ (weight * residual) > 0))
        if free.any():
            normal = (by[free] * weight) @ slopes[free].T
            change = np.linalg.lstsq(normal, by[free] @ (weight * residual), rcond=None)[0]
            found[free] = np.maximum(0.0, found[free] + np.clip(change, -32.0, 32.0))
        spread = 1.4826 * float(np.median(np.abs(residual)))
        weight = np.minimum(1.0, _HUBER * max(spread, 1e-6) / np.maximum(np.abs(residual), 1e-12))
    alike = np.abs(np.sum(by * slopes, axis=1))
    errors = np.std(residual) * np.sqrt(np.sum(by**2, axis=1)) / np.maximum(alike, 1e-12)
    return found, errors, usable


def _blocks(counts: Sequence[int]) -> Places:
    """Numbers of the blocks; none has micro-batches of two hosts, and none is much smaller than the others."""
    numbers: list[Places] = []
    first = 0
    for count in counts:
        many = max(1, count // BLOCK)
        numbers.append(first + np.arange(count, dtype=np.int64) * many // max(count, 1))
        first += many
    return np.concatenate(numbers)


def _centred(values: Array, blocks: Places, weight: Array) -> Array:
    """Without each block's mean."""
    total = np.maximum(np.bincount(blocks, weight), 1e-12)
    centred: Array = values - (np.bincount(blocks, weight * values) / total)[blocks]
    return centred
