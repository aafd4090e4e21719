"""Runs that are the same to the bit: what a micro-batch's gradient depends on is the micro-batch and the parameters.

``docs/decisions/0007-reproducible.md`` has the whole; this is the part that knows tensors. It is off unless the run's
settings have a ``micro_batch``; the seeds it uses (:mod:`~evener.training.chance`) also serve other runs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

import torch
from torch import nn

from ..core.ranges import block
from ..runtime.numeric import Buffer
from ..runtime.place import DETERMINISTIC
from .chance import Seeds, set_seed
from .errors import ScriptError
from .store import FlatStore


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


def cut(batch: int, micro_batch: int) -> list[int]:
    """Sizes of the micro-batches of a step of ``batch`` samples, in their order.

    >>> cut(100, 32), cut(65, 32)
    ([32, 32, 32, 4], [32, 33])
    """
    sizes: list[int] = []
    while (at := sum(sizes)) < batch:
        start, stop = block((0, batch), at, micro_batch)
        sizes.append(stop - start)
    return sizes


def too_few(batch: int, micro_batch: int, workers: int) -> str:
    """What to say where a step has fewer micro-batches than there are workers; empty otherwise.

    >>> too_few(batch=64, micro_batch=32, workers=3)[:55]
    'a step has 2 micro-batches of 32 for 3 workers, so that'
    >>> too_few(batch=64, micro_batch=16, workers=3)
    ''
    """
    sizes = cut(batch, micro_batch)
    if len(sizes) >= workers:
        return ""
    many = f"{len(sizes)} micro-batches" if len(sizes) > 1 else "1 micro-batch"
    advice = f"; a --micro-batch of {batch // workers} would be enough" if batch // workers >= 2 else ""
    return f"a step has {many} of {sizes[0]} for {workers} workers, so that some have nothing to do{advice}"


def check_deterministic(error: BaseException) -> None:
    """Raise if ``error`` is torch's about an operation without a deterministic form.

    Raises:
        ScriptError: it is; the message names the operation and what to do.
    """
    text = str(error)
    if "torch.use_deterministic_algorithms" not in text:
        return
    operation, found, _ = text.partition(" does not have a deterministic implementation")
    name = operation.strip("'")
    what, said = (f"{name!r} has", "") if found else ("one of the model's operations has", f" torch says: {text}")
    raise ScriptError(
        f"{what} no deterministic form in this version of torch, so that its result may differ each time. Use another "
        f"operation in its place, or run without --reproducible.{said}"
    ) from error


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

    def wipe(self, epoch: int, position: int, statistics: Buffer | bytearray, skipped: Collection[int] = ()) -> None:
        """Before the script gets the micro-batch of ``epoch`` that begins at ``position``.

        Args:
            epoch, position: which micro-batch.
            statistics: BatchNorm's, packed, of the version it is computed on.
            skipped: trained parameters, by number, whose gradient is the script's to clear: if it accumulates by
                hand, the guard must see it grow.
        """
        for index, parameter in enumerate(self._store.parameters):
            if index not in skipped:
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
