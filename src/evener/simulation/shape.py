"""What micro-batches cost beside their samples, in samples: the same for all hosts of a run, whatever their speed.

``seconds ≈ (k + overhead + push · pushed + pull · pulled − burst · rested) / pace`` for ``k`` samples: what a host does
for a micro-batch, for a push and for a set of parameters is work of its processor, as its samples are. A fast host's
sizes differ and tell what each of these is; a slow one, whose micro-batches all have the least size, tells its pace
alone.

A host under a CPU quota that has idled computes faster until it has used up what it saved: its ``burst``. Large
micro-batches are often those that begin after a wait, so without it they would seem cheaper than they are.

The longer a micro-batch takes, the likelier it is that parameters come meanwhile. If they come at random times, those
that see them are longer by ``σ²/d`` for that reason alone, ``d`` being the mean of the durations and ``σ²`` their
variance about what is expected: that is no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]

BLOCK = 24
"""Micro-batches of a host that are taken to have one pace: it may change over time."""

LEAST = 12
"""Micro-batches, of all hosts, from which something is said."""

DIFFERS = 0.1
"""Of a cost's part of the whole, standard deviation within a pace's micro-batches: with less, it is not to be told."""

SURE = 2.0
"""So many times its standard error must a burst be. So must the cost of a push: most are followed by a wait that hides
it, and then it is taken for that of a pull, which moves about as many bytes."""

SPRINT = 0.5
"""A micro-batch takes this part, at least, of what it would without an idle time before it."""

_HUBER = 1.345
_ROUNDS = 25
_AGAIN = 4


@dataclass(frozen=True, slots=True)
class Batches:
    """A host's micro-batches, in order.

    Attributes:
        sizes, seconds: samples, and what each took.
        gaps: seconds from the beginning of the push before it to its own (infinite: no push was before it).
        pulled: sets of parameters that came during it.
        idle: seconds from the end of the one before it to its beginning.
    """

    sizes: Array
    seconds: Array
    gaps: Array
    pulled: Array
    idle: Array

    def split(self, cuts: Sequence[int]) -> list[Batches]:
        """Those before each of the places, ascending, and those after the last."""
        values = (self.sizes, self.seconds, self.gaps, self.pulled, self.idle)
        columns = (np.split(one, cuts) for one in values)
        return [Batches(*part) for part in zip(*columns, strict=True) if len(part[0])]


@dataclass(frozen=True, slots=True)
class Shape:
    """Costs in samples; not negative.

    Attributes:
        overhead: of each micro-batch.
        push, pull: of a push, of parameters that come during a micro-batch.
        known: whether sizes differ enough to tell the overhead.
        bursts: of each host.
        told: whether pushes told what they cost; else it is what parameters do.
    """

    overhead: float = 0.0
    push: float = 0.0
    pull: float = 0.0
    known: bool = False
    bursts: tuple[float, ...] = ()
    told: bool = True

    def burst(self, host: int) -> float:
        """A host's; 0 where nothing is known of it."""
        return self.bursts[host] if 0 <= host < len(self.bursts) else 0.0

    def plain(self, host: Batches, burst: float = 0.0) -> Array:
        """What a host's micro-batches would have taken without transfers and idle times, in seconds."""
        alone = host.sizes + self.overhead
        blocks = _blocks([len(alone)])
        total = alone
        for _ in range(_AGAIN):
            paces = _paces(total, host.seconds, blocks)
            pushed = _pushed(host.gaps, paces, self.push)
            total = alone + self.push * pushed + self.pull * host.pulled
            total = np.maximum(total - burst * _rested(host), SPRINT * total)
        seconds: Array = host.seconds * alone / total
        return seconds


def shape(hosts: Sequence[Batches], whose: Sequence[int] | None = None) -> Shape:
    """Fit the costs over all hosts, each block of some micro-batches at its own pace.

    Args:
        hosts: what each did.
        whose: burst theirs have, numbered from 0: several may be of one host. By default each has its own.

    >>> sizes = np.array([16.0, 32.0, 64.0, 128.0] * 12)
    >>> pushed = np.array([0.0, 0.0, 1.0] * 16)
    >>> gaps = np.where(pushed, 0.0, np.inf)
    >>> seconds = (sizes + 8 + 20 * pushed) / 400
    >>> found = shape([Batches(sizes, seconds, gaps, 0 * sizes, 0 * sizes)])
    >>> round(found.overhead, 3), round(found.push, 3), found.pull, found.known
    (8.0, 20.0, 0.0, True)
    """
    whose = range(len(hosts)) if whose is None else whose
    count = max(whose, default=-1) + 1
    if sum(len(host.sizes) for host in hosts) < LEAST:
        return Shape(bursts=(0.0,) * count)
    sizes, seconds, gaps, pulled = (
        np.concatenate([getattr(host, name) for host in hosts]) for name in ("sizes", "seconds", "gaps", "pulled")
    )
    owner = np.repeat(np.asarray(whose), [len(host.sizes) for host in hosts])
    mine = np.stack([np.equal(owner, one) for one in range(count)])
    blocks = _blocks([len(host.sizes) for host in hosts])
    rested = np.concatenate([_rested(host) for host in hosts])
    found = np.zeros(3 + count)
    # A host's burst shows in its own micro-batches, so that is where its part of the whole must differ.
    differs = DIFFERS * np.sqrt([1.0, 1.0, 1.0, *mine.mean(axis=1)])
    total = sizes
    for _ in range(_AGAIN):
        # How much of a push was still to be done is known once its cost is.
        paces = _paces(total, seconds, blocks)
        pushed = _pushed(gaps, paces, found[1])
        columns = np.stack([np.ones_like(sizes), pushed, pulled, *(-rested * mine)])
        found, errors, usable = fit(sizes, seconds, columns, blocks, differs)
        total = np.maximum(sizes + found @ columns, SPRINT * sizes)
        chance = _centred(np.log(seconds) - np.log(total), blocks, np.ones_like(total))
    # Of the extra time of those during which parameters came, so much is why they came then.
    found[2] = max(0.0, found[2] - float(np.mean(np.minimum(chance, 1.0) ** 2 * total)))
    sure = found > SURE * errors
    push = found[1] if sure[1] else found[2]
    bursts = np.where(sure, found, 0.0)[3:]
    return Shape(
        float(found[0]),
        float(push),
        float(found[2]),
        bool(usable[0]),
        tuple(bursts.tolist()),
        bool(sure[1]) or not found[2],
    )


def _rested(host: Batches) -> Array:
    """The part of its burst that each micro-batch had: all of it if it had idled for as long as one takes.

    A period may be shorter, but at first what it idles goes to the push before and the parameters that come.
    """
    rested: Array = np.clip(host.idle / np.median(host.seconds), 0.0, 1.0)
    return rested


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
    sizes: Array,
    seconds: Array,
    columns: Array,
    blocks: Places,
    differs: float | Array = 0.0,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Costs in samples, such that ``seconds ≈ (sizes + costs @ columns) / pace`` with a pace for each block.

    Gauss-Newton on the logarithms, with Huber's weights; no cost gets negative.

    Args:
        sizes, seconds: of each micro-batch.
        columns: how often each of the costs was paid, by cost and micro-batch.
        blocks: which pace each has, numbered from 0.
        differs: a cost whose part of the whole has a smaller standard deviation than this within the blocks stays 0.

    Returns:
        The costs, their standard errors (each for itself), and which could be told.
    """
    found = np.zeros(len(columns))
    weight = np.ones_like(sizes)
    parts = np.stack([sizes * _centred(column / sizes, blocks, weight) for column in columns])
    usable = np.sqrt(np.mean(parts**2, axis=1)) > differs
    for _ in range(_ROUNDS):
        total = np.maximum(sizes + found @ columns, SPRINT * sizes)
        residual = _centred(np.log(seconds) - np.log(total), blocks, weight)
        slopes = np.stack([_centred(column / total, blocks, weight) for column in columns])
        free = usable & ((found > 0) | (slopes @ (weight * residual) > 0))
        if free.any():
            normal = (slopes[free] * weight) @ slopes[free].T
            change = np.linalg.lstsq(normal, slopes[free] @ (weight * residual), rcond=None)[0]
            found[free] = np.maximum(0.0, found[free] + np.clip(change, -32.0, 32.0))
        spread = 1.4826 * float(np.median(np.abs(residual)))
        weight = np.minimum(1.0, _HUBER * max(spread, 1e-6) / np.maximum(np.abs(residual), 1e-12))
    errors = np.std(residual) / np.maximum(np.sqrt(np.sum(slopes**2, axis=1)), 1e-12)
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
