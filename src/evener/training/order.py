"""The sampler's order, drawn once per epoch on the server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader


class SamplerOrder:
    """Draws the user's sampler for (seed, epoch).

    A sampler with a generator of its own is left alone. One that would take its seed from torch's global random state
    gets a generator seeded by (seed, epoch): the draw happens beside the user's evaluation, whose random numbers it
    must neither use nor disturb. ``set_epoch`` is called where the sampler has it.
    """

    def __init__(self, loader: DataLoader[Any], seed: int) -> None:
        self._sampler: Any = loader.sampler
        self._seed = seed
        self._own = getattr(self._sampler, "generator", self) is None

    def __call__(self, epoch: int) -> Iterable[int]:
        """Data set indices in the order of ``epoch``."""
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)
        if not self._own:
            return list(self._sampler)
        self._sampler.generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        try:
            return list(self._sampler)
        finally:
            self._sampler.generator = None
