"""What is measured, as data: how many workers, how many parameters, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SYSTEMS = ("evener", "bare")

LAYERS = 20
"""Tensors of the model: as many as a small network has."""

SHARE = 2
"""Samples of a step for each worker: nobody computes them."""

POSITIONS = 200_000
"""Samples of an epoch, about: none is to end while it is measured, nor to take long to draw."""

LARGEST = 1_600_000_000
"""Bytes of gradients in a step, of all workers. The server may hold them all, twice over; and a step takes seconds."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """So many workers, and a model of so many parameters, which are floats of four bytes."""

    workers: int
    parameters: int

    @property
    def shape(self) -> int:
        """Numbers in each of the model's tensors."""
        return self.parameters // LAYERS

    @property
    def size(self) -> int:
        """Bytes of a version, and of a contribution.

        >>> Cell(4, 2_000_000).size
        8000000
        """
        return 4 * LAYERS * self.shape

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return SHARE * self.workers

    @property
    def step_bytes(self) -> int:
        """Bytes that a step moves through the server's sockets: a contribution in and a version out, for each worker.

        >>> Cell(4, 2_000_000).step_bytes
        64000000
        """
        return 2 * self.workers * self.size

    @property
    def too_large(self) -> bool:
        """Whether it is left out.

        >>> Cell(64, 25_000_000).too_large, Cell(32, 11_000_000).too_large
        (True, False)
        """
        return self.workers * self.size > LARGEST

    def __str__(self) -> str:
        return f"{self.workers} × {millions(self.parameters)}"


def millions(count: int) -> str:
    """``count``, in words.

    >>> millions(200_000), millions(25_000_000)
    ('0.2M', '25M')
    """
    return f"{count / 1e6:g}M"


GOAL = Cell(4, 2_000_000)
WORKERS = (1, 8, 32, 64)
SIZES = (200_000, 2_000_000, 11_000_000, 25_000_000)
GRID = (GOAL, *(Cell(workers, size) for size in SIZES for workers in WORKERS), Cell(16, 25_000_000))
"""With 16 workers where 32 are too many."""


def order(cells: Sequence[Cell], repetitions: int) -> Iterator[tuple[int, Cell, str]]:
    """Repetition, cell and system, one after the other: the two systems next to each other, and each first in turn.

    >>> [(repetition, system) for repetition, _, system in order([GOAL], 2)]
    [(0, 'evener'), (0, 'bare'), (1, 'bare'), (1, 'evener')]
    """
    for repetition in range(repetitions):
        for cell in cells:
            if not cell.too_large:
                for system in SYSTEMS if repetition % 2 == 0 else reversed(SYSTEMS):
                    yield repetition, cell, system
