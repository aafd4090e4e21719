"""Runs that are the same to the bit: what a micro-batch's gradient depends on is the micro-batch and the parameters.

``docs/decisions/0007-reproducible.md`` has the whole; this is the part that knows tensors. Everything here is off
unless the run's settings have a ``micro_batch``.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ..core.ranges import Range
from ..runtime.place import DETERMINISTIC
from .optimizer import ScriptError
from .store import FlatStore

Key = tuple[int, int]
"""What a loader is asked for: a data set index, and the seed that makes its loading repeatable."""


def begin() -> None:
    """Let this process compute deterministically: such kernels only, one thread, a fixed choice of algorithms.

    Twice does no harm. What a library reads from the environment when it is loaded is the launcher's to set; here it is
    only made up for.
    """
    for name, value in DETERMINISTIC.items():
        os.environ.setdefault(name, value)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def too_few(batch: int, micro_batch: int, workers: int) -> str:
    """What to say where a step has fewer micro-batches than there are workers; empty otherwise.

    >>> too_few(batch=64, micro_batch=32, workers=3)[:55]
    'a step has 2 micro-batches of 32 for 3 workers, so that'
    >>> too_few(batch=64, micro_batch=16, workers=3)
    ''
    """
    blocks = max(1, batch // micro_batch)
    if blocks >= workers:
        return ""
    advice = f"; a --micro-batch of {batch // workers} would be enough" if batch // workers >= 2 else ""
    return (
        f"a step has {blocks} micro-batches of {min(batch, micro_batch)} for {workers} workers, so that some have "
        f"nothing to do{advice}"
    )


def check_deterministic(error: Exception) -> None:
    """Raise if ``error`` is torch's about an operation without a deterministic form.

    Raises:
        ScriptError: it is; the message names the operation and what to do.
    """
    text = str(error)
    if "torch.use_deterministic_algorithms" not in text:
        return
    operation, found, _ = text.partition(" does not have a deterministic implementation")
    what = f"{operation!r} has" if found else "one of the model's operations has"
    raise ScriptError(
        f"{what} no deterministic form in this version of torch, so that its result may differ each time. Use another "
        f"operation in its place, or run without --reproducible. torch says: {text}"
    ) from error


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
        """Of the sampler's draw for ``epoch``."""
        return self._of("order", epoch)

    def sample(self, epoch: int, position: int) -> int:
        """Of loading the sample at ``position``."""
        return self._of("sample", epoch, position)

    def batch(self, epoch: int, position: int) -> int:
        """Of computing the micro-batch whose first position is ``position``."""
        return self._of("batch", epoch, position)

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


class Slate:
    """Wiped clean before each micro-batch of a worker: nothing of what it computed before is left.

    Args:
        seeds: the run's.
        store: the model's flat layout; parameters and buffers have the server's values now.
        model: those of its buffers that are no part of its state keep these values. Forward passes may change them;
            a change of other buffers is refused in any run (:class:`~evener.training.guard.Guard`).
    """

    def __init__(self, seeds: Seeds, store: FlatStore, model: nn.Module) -> None:
        self._seeds = seeds
        self._store = store
        self._buffers = [
            (module, name, buffer, buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and name in module._non_persistent_buffers_set
        ]

    def wipe(self, epoch: int, position: int, statistics: bytearray) -> None:
        """Before the script gets the micro-batch of ``epoch`` that begins at ``position``.

        Args:
            epoch, position: which micro-batch.
            statistics: BatchNorm's, packed, of the version it is computed on.
        """
        for parameter in self._store.parameters:
            parameter.grad = None  # left at zero it would count as a gradient, where none would not
        self._store.statistics.install(statistics)
        with torch.no_grad():
            for module, name, buffer, value in self._buffers:
                module._buffers[name] = buffer
                buffer.copy_(value)
        set_seed(self._seeds.batch(epoch, position), devices=True)


def seeds_of(terms: Mapping[str, int | float | bool]) -> Seeds | None:
    """The seeds of a run with these terms; ``None`` where it is not reproducible."""
    return Seeds(int(terms.get("seed", 0))) if terms.get("micro_batch") else None
