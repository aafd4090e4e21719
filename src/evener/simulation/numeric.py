"""What a simulated run with real gradients needs from those who know tensors; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..core import commands as c
from ..core import events as e
from ..core.ranges import Range


@dataclass(slots=True)
class Task:
    """A micro-batch that begins now: the samples of ``ranges``, on ``parameters`` (of ``version``), for ``step``.

    ``parameters`` is what :meth:`Numeric.publish` returned. Whoever computes it sets
    ``declined`` where the script took no step.
    """

    worker: int
    ticket: int
    epoch: int
    ranges: tuple[Range, ...]
    version: int
    step: int
    parameters: object
    declined: bool = False


class Numeric(Protocol):
    """Parameters, optimizer and the workers' sums of gradients.

    Called at the virtual moments at which a real server and real workers would do these things. What
    :meth:`publish` returns is handed round as it is, and dropped when no worker has it any more.
    """

    def draw(self, epoch: int) -> int:
        """Draw the sampler's order for ``epoch``; returns its number of positions."""

    def grant(self, grant: c.Grant) -> None:
        """A ticket is given out: its samples will be asked for when it is computed."""

    def push(self, push: e.Arrived) -> e.Arrived:
        """A worker hands over what it summed up. ``push`` as timing alone knows it; returns it with the facts."""

    def accumulate(self, add: c.Accumulate) -> None:
        """Add ``factor · ḡ`` to the batch gradient of a step."""

    def discard(self, worker: int, push: int) -> None:
        """A push does not count."""

    def step(self, step: c.Step) -> None:
        """Carry an optimizer step out."""

    def publish(self, version: int) -> object:
        """The parameters, which never change any more."""

    def end_epoch(self, ended: c.EndEpoch, now: float) -> None:
        """Step the epoch scheduler and keep a snapshot."""


class Timing:
    """Timing alone: every push counts, and there is nothing in it.

    Args:
        positions: samples per epoch.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions

    def draw(self, epoch: int) -> int:
        """As many positions in each epoch."""
        return self.positions

    def grant(self, grant: c.Grant) -> None:
        """Nothing."""

    def push(self, push: e.Arrived) -> e.Arrived:
        """As it is."""
        return push

    def accumulate(self, add: c.Accumulate) -> None:
        """Nothing."""

    def discard(self, worker: int, push: int) -> None:
        """Nothing."""

    def step(self, step: c.Step) -> None:
        """Nothing."""

    def publish(self, version: int) -> object:
        """Nothing."""
        return None

    def end_epoch(self, ended: c.EndEpoch, now: float) -> None:
        """Nothing."""
