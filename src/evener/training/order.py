"""The sampler's order, drawn once per epoch on the server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, SequentialSampler

from .chance import Seeds, put_back, set_seed


class SamplerOrder:
    """Draws the user's sampler for (seed, epoch).

    The draw happens beside the user's evaluation, whose random numbers it should neither use nor disturb. So one of
    torch's samplers that would take its seed from the global random state gets a generator seeded by (seed, epoch),
    and a sampler with a generator of its own is left alone. ``set_epoch`` is called where the sampler has it.

    Args:
        loader: the user's.
        seed: of the run.
        reproducible: a sampler of the user's, without a generator, may use the global random states: it finds them
            set for (seed, epoch), and they are put back. What the script draws at that moment may meet with it.
    """

    def __init__(self, loader: DataLoader[Any], seed: int, reproducible: bool = False) -> None:
        self._sampler: Any = loader.sampler
        self._seeds = Seeds(seed)
        self._lends = getattr(self._sampler, "generator", self) is None
        draws_itself = hasattr(self._sampler, "generator") or isinstance(self._sampler, SequentialSampler)
        self._sets_states = reproducible and not draws_itself

    def __call__(self, epoch: int) -> Iterable[int]:
        """Data set indices in the order of ``epoch``."""
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)
        seed = self._seeds.order(epoch)
        if self._lends:
            self._sampler.generator = torch.Generator().manual_seed(seed)
            try:
                return list(self._sampler)
            finally:
                self._sampler.generator = None
        if not self._sets_states:
            return list(self._sampler)
        with put_back():
            set_seed(seed)
            return list(self._sampler)
