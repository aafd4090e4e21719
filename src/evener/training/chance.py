"""Random numbers: what each of a run's draws is seeded with, and setting the random states that scripts draw from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..core.ranges import Range

Key = tuple[int, int]
"""What a loader is asked for: a data set index, and the seed that makes its loading repeatable."""


class Seeds:
    """Seeds of all that is random in a run, each a function of the run's seed and of what it is for.

    Args:
        seed: of the run.

    Example:
        >>> Seeds(0).sample(epoch=1, position=7) == Seeds(0).sample(epoch=1, position=7)
        True
        >>> Seeds(0).sample(epoch=1, position=7) == Seeds(1).sample(epoch=1, position=7)
        False
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _of(self, *what: str | int) -> int:
        """63 bits; differing in one of ``what`` makes it another, unrelated number."""
        digest = hashlib.blake2b(repr((self._seed, *what)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def script(self) -> int:
        """Of what the script does before its first batch, and on the server."""
        return self._of("script")

    def order(self, epoch: int) -> int:
        """Of the sampler's draw for ``epoch``; a plain number, so that a script can draw the same order by hand.

        >>> Seeds(2).order(epoch=1)
        2000007
        """
        return (self._seed * 1_000_003 + epoch) % 2**63

    def epoch(self, epoch: int) -> int:
        """Of what the script does at the head of ``epoch``, before its first batch."""
        return self._of("epoch", epoch)

    def sample(self, epoch: int, position: int) -> int:
        """Of loading the sample at ``position``."""
        return self._of("sample", epoch, position)

    def batch(self, epoch: int, position: int) -> int:
        """Of computing the micro-batch whose first position is ``position``."""
        return self._of("batch", epoch, position)

    def worker(self, number: int) -> int:
        """Of the worker that the server gave this number: another one for each.

        A script seeds itself alike in every process, so that all build the same things; if that went on into training,
        all workers would drop the same units and shift their images alike.
        """
        return self._of("worker", number)

    def keyed(self, indices: Sequence[int], epoch: int, ranges: Sequence[Range]) -> list[Key]:
        """The data set indices at the positions ``ranges`` of ``epoch``, each with the seed to load it with."""
        positions = (position for start, stop in ranges for position in range(start, stop))
        return [(index, self.sample(epoch, at)) for index, at in zip(indices, positions, strict=True)]


def set_seed(seed: int, devices: bool = False) -> None:
    """Set the random state of ``random``, ``numpy`` and ``torch``.

    Args:
        seed: 0 to 2⁶³ − 1.
        devices: torch's generators of all devices, too, which takes 0.1 ms: for a micro-batch, not for a sample.
    """
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    if devices:
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def put_back() -> Iterator[None]:
    """Afterwards ``random``, ``numpy`` and ``torch`` (on the CPU) draw as if nothing had been drawn."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


# Across a checkpoint ------------------------------------------------------------------------------------------


def chance_state(loader: DataLoader[Any]) -> dict[str, Any]:
    """The states of the random generators that a script and its sampler draw from."""
    name, keys, *rest = np.random.get_state()
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (str(name), [int(key) for key in keys], *(float(one) for one in rest)),
    }
    for which, holder in (("loader", loader), ("sampler", loader.sampler)):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            found[which] = generator.get_state()
    return found


def set_chance_state(state: dict[str, Any], loader: DataLoader[Any]) -> None:
    """Let them go on from there."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    name, keys, at, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), int(at), int(has_gauss), gauss))
    for which, holder in (("loader", loader), ("sampler", loader.sampler)):
        generator = getattr(holder, "generator", None)
        if which in state and isinstance(generator, torch.Generator):
            generator.set_state(state[which])
