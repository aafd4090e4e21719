"""What a worker's main thread is told to do between two micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.ranges import Range
from .bulk.worker import Bytes


@dataclass(frozen=True, slots=True)
class Install:
    """Copy ``data`` over the model's parameters; they are ``version``."""

    version: int
    data: Bytes


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute the gradient of the samples ``indices`` (int64 bytes), at the positions ``ranges`` of ``epoch``.

    ``generation`` is that of the membership (:attr:`~evener.runtime.worker.Link.generation`) in which the ticket was
    granted. ``early`` is by how many steps the parameters installed are older than those that the gradient will change.
    """

    ticket: int
    epoch: int
    ranges: tuple[Range, ...]
    indices: bytes
    generation: int
    early: int = 0


@dataclass(frozen=True, slots=True)
class Push:
    """Hand over what was summed up for ``tickets``."""

    tickets: tuple[int, ...]
    versions: tuple[int, ...]


Work = Install | Compute | Push
