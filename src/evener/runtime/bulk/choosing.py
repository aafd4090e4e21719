"""``--compress auto``: whether a worker's bulk is packed, by how long its link takes and what packing costs it."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import numpy as np

from .. import protocol as p
from ..numeric import Extent
from .codec import NONE, OF_CHOICE, Codec, apply_change, pack_gradient
from .packing import Packing

MOST = 5
"""Transfers that are timed at most; their median counts: others wait and compute on both machines."""

ENOUGH = 0.25
"""Seconds of transfers after which no other is timed: on such a link one says enough, and others would cost more."""

MARGIN = 2.0
"""So many times what it costs, packing must save: a short time is that of waking up more than of bytes."""

SAMPLE = 1 << 20
"""Values that are packed to see how long it takes: 4 MB."""


class Choice(NamedTuple):
    """Whether to pack, and why: what a version took without, and what packing and unpacking as many values takes (s).

    Both times are 0 where nothing was measured.
    """

    packs: bool = False
    transfer_s: float = 0.0
    packing_s: float = 0.0


class Choosing:
    """A worker's choice, for as long as its process takes part.

    What is timed are versions that come right behind the untrained state: so no time on the way there and back counts,
    which packing does not save.

    Args:
        extent: of what may be packed; ``None``: nothing may.

    Attributes:
        choice: not to pack, until :meth:`choose`.

    >>> choosing = Choosing(None)
    >>> choosing.begins(10.0)
    >>> choosing.ends(10.2)
    >>> choosing.wanted
    True
    """

    def __init__(self, extent: Extent | None) -> None:
        self.choice = Choice()
        self._extent = extent
        self._began: float | None = None
        self._times: list[float] = []

    @property
    def wanted(self) -> bool:
        """Whether another transfer is to be timed."""
        return len(self._times) < MOST and sum(self._times) < ENOUGH

    @property
    def transfer_s(self) -> float | None:
        """Seconds that a version takes; ``None``: nothing was timed."""
        return statistics.median(self._times) if self._times else None

    def begins(self, now: float) -> None:
        """From ``now`` (s) on the link has nothing but a version to carry."""
        self._began = now

    def ends(self, now: float) -> None:
        """It is here, whole; if none began, nothing is timed."""
        if self._began is not None:
            self._times.append(now - self._began)
            self._began = None

    def choose(self) -> None:
        """By what was timed."""
        extent, transfer_s = self._extent, self.transfer_s
        if extent is not None and transfer_s is not None:
            self.choice = choose(OF_CHOICE, extent.values // 4, extent.version_head, transfer_s)

    def packing(self, compress: str) -> Packing | None:
        """Of this worker's bulk, in a run with this option; ``None``: it goes as it is.

        Raises:
            ProtocolError: there is no such option, or nothing to pack.
        """
        if compress == NONE:
            return None
        try:
            packing = Packing.of(compress, self._extent) if self._extent is not None else None
        except KeyError:
            packing = None
        if packing is None:
            raise p.ProtocolError(f"the server compresses as {compress[:40]!r}, which is not for this worker to unpack")
        return packing if self.choice.packs or not packing.auto else None


def choose(codec: Codec, count: int, head: int, transfer_s: float) -> Choice:
    """Whether packing ``count`` values behind ``head`` bytes pays on a link that takes ``transfer_s`` without it.

    What is saved is the share of the bytes that do not go; what is spent, the time of one end to pack and of the other
    to unpack, both as they are here, with whatever else this machine does and however much of it this process gets.
    """
    if not count:
        return Choice()
    whole = head + 4 * count
    saved = transfer_s * (1 - (head + codec.size(count)) / whole)
    packing_s = cost(codec, min(count, SAMPLE)) * max(1.0, count / SAMPLE)
    return Choice(saved > MARGIN * packing_s, transfer_s, packing_s)


def cost(codec: Codec, count: int) -> float:
    """Seconds to pack ``count`` values and to unpack them again, here and now."""
    values = np.linspace(-1, 1, count, dtype=np.float32)
    residual, there = np.zeros_like(values), np.zeros_like(values)
    packed = memoryview(bytearray(codec.size(count)))
    began = time.perf_counter()
    for _ in pack_gradient(codec, values, 1.0, residual, packed):
        pass
    apply_change(codec, packed, there)
    return time.perf_counter() - began
