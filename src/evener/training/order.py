"""The sampler's order, drawn once per epoch on the server."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from .reproducible import Seeds, set_seed


class SamplerOrder:
    """Draws the user's sampler for (seed, epoch).

    A sampler with a generator of its own is left alone. One that would take its seed from torch's global random state
    gets a generator seeded by (seed, epoch): the draw happens beside the user's evaluation, whose random numbers it
    must neither use nor disturb. ``set_epoch`` is called where the sampler has it.

    Args:
        loader: the user's.
        seed: of the run.
        reproducible: a sampler that uses global random states in ways of its own finds them set for (seed, epoch),
            and leaves them as they were.
    """

    def __init__(self, loader: DataLoader[Any], seed: int, reproducible: bool = False) -> None:
        self._sampler: Any = loader.sampler
        self._seed = seed
        self._own = getattr(self._sampler, "generator", self) is None
        self._seeds = Seeds(seed) if reproducible else None

    def __call__(self, epoch: int) -> Iterable[int]:
        """Data set indices in the order of ``epoch``."""
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)
        if not self._own:
            return self._drawn(epoch)
        self._sampler.generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        try:
            return list(self._sampler)
        finally:
            self._sampler.generator = None

    def _drawn(self, epoch: int) -> Iterable[int]:
        if self._seeds is None:
            return list(self._sampler)
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        set_seed(self._seeds.order(epoch))
        try:
            return list(self._sampler)
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])
