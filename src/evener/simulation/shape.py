"""What micro-batches cost beside their samples, in samples: the same for all hosts of a run, whatever their speed.

``seconds = (k + overhead + push · pushed + pull · pulled) / pace · exp(ε)`` for ``k`` samples: what a host does for a
micro-batch, for a push and for a set of parameters is work of its processor, as its samples are. A fast host's sizes
differ and tell what each of these is; a slow one, whose micro-batches all have the least size, tells its pace alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

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


@dataclass(frozen=True, slots=True)
class Shape:
    """Costs in samples; not negative.

    Attributes:
        overhead: of each micro-batch.
        push, pull: of a push that began with it, of parameters that came during it.
        known: whether sizes differ enough to tell the overhead.
    """

    overhead: float = 0.0
    push: float = 0.0
    pull: float = 0.0
    known: bool = False

    def samples(self, sizes: Array, pushed: Array, pulled: Array) -> Array:
        """What micro-batches cost."""
        total: Array = sizes + self.overhead + self.push * pushed + self.pull * pulled
        return total


@dataclass(frozen=True, slots=True)
class Batches:
    """A host's micro-batches, in order: samples, seconds, pushes that began with each, parameters that came."""

    sizes: Array
    seconds: Array
    pushed: Array
    pulled: Array


def shape(hosts: Sequence[Batches]) -> Shape:
    """Fit the costs: least squares of the logarithm, with Huber's weights, each block of micro-batches at its own pace.

    >>> sizes = np.array([16.0, 32.0, 64.0, 128.0] * 12)
    >>> pushed = np.array([0.0, 0.0, 1.0] * 16)
    >>> found = shape([Batches(sizes, (sizes + 8 + 20 * pushed) / pace, pushed, 0 * pushed) for pace in (400.0, 50.0)])
    >>> round(found.overhead, 3), round(found.push, 3), found.pull, found.known
    (8.0, 20.0, 0.0, True)
    """
    if sum(len(host.sizes) for host in hosts) < LEAST:
        return Shape()
    sizes, seconds, pushed, pulled = (
        np.concatenate([getattr(host, name) for host in hosts]) for name in ("sizes", "seconds", "pushed", "pulled")
    )
    blocks = _blocks([len(host.sizes) for host in hosts])
    found = np.zeros(3)
    columns = np.stack([np.ones_like(sizes), pushed, pulled])
    weight = np.ones_like(sizes)
    usable = np.zeros(3, dtype=bool)
    for _ in range(_ROUNDS):
        total = sizes + found @ columns
        residual = _centred(np.log(seconds) - np.log(total), blocks, weight)
        slopes = np.stack([_centred(column / total, blocks, weight) for column in columns])
        usable = np.sqrt(np.mean((slopes * total) ** 2, axis=1)) > DIFFERS
        free = usable & ((found > 0) | (slopes @ (weight * residual) > 0))
        if free.any():
            left = slopes[free]
            change = np.linalg.lstsq((left * weight) @ left.T, left @ (weight * residual), rcond=None)[0]
            found[free] = np.maximum(0.0, found[free] + np.clip(change, -32.0, 32.0))
        spread = 1.4826 * float(np.median(np.abs(residual)))
        weight = np.minimum(1.0, _HUBER * max(spread, 1e-6) / np.maximum(np.abs(residual), 1e-12))
    kept = [cost if cost > SURE * error else 0.0 for cost, error in zip(found, _errors(slopes, residual), strict=True)]
    return Shape(float(found[0]), float(kept[1]), float(kept[2]), bool(usable[0]))


def _errors(slopes: Array, residual: Array) -> Array:
    """Standard errors of the costs, each for itself."""
    errors: Array = np.std(residual) / np.sqrt(np.maximum(np.sum(slopes**2, axis=1), 1e-12))
    return errors


def _blocks(counts: Sequence[int]) -> NDArray[np.int64]:
    """Numbers of the blocks; none has micro-batches of two hosts, and none is much smaller than the others."""
    numbers: list[NDArray[np.int64]] = []
    first = 0
    for count in counts:
        many = max(1, count // BLOCK)
        numbers.append(first + np.arange(count, dtype=np.int64) * many // max(count, 1))
        first += many
    return np.concatenate(numbers)


def _centred(values: Array, blocks: NDArray[np.int64], weight: Array) -> Array:
    """Without each block's mean."""
    total = np.maximum(np.bincount(blocks, weight), 1e-12)
    centred: Array = values - (np.bincount(blocks, weight * values) / total)[blocks]
    return centred
