"""The checker's book of steps: what was settled towards each of them, and which versions they made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..core import commands as c
from ..core.state import Settings
from .positions import Positions


@dataclass(slots=True)
class _Step:
    """What was settled towards one step; ``epoch`` of its positions."""

    epoch: int = -1
    samples: int = 0
    settled: int = 0
    weight: float = 0.0


class Steps:
    """Follows every step from its first sample to the version that it makes.

    Args:
        positions: of the same record.
        complain: is told in words what does not fit.

    Attributes:
        issued, done: how many steps were issued, and how many of them are done: that is the newest version, too.
    """

    def __init__(self, positions: Positions, complain: Callable[[str], None]) -> None:
        self.issued = self.done = 0
        self._positions = positions
        self._complain = complain
        self._settings: Settings | None = None
        self._steps: dict[int, _Step] = {}
        self._short: dict[int, list[int]] = {}

    def collect(self, settings: Settings) -> None:
        """Each step collects a batch; without this one push alone may be a step."""
        self._settings = settings

    @property
    def unstepped(self) -> int:
        """Samples that were added to a step which was not done."""
        return sum(step.samples for index, step in self._steps.items() if index >= self.done)

    def restore(self, version: int) -> None:
        """Forget everything but this: so many steps are done, and nothing was added to the next."""
        self.issued = self.done = version
        self._steps.clear()
        self._short.clear()  # an epoch is over once its remainder was stepped

    def settle(self, step: int, epoch: int, size: int, applied: bool) -> None:
        """So many samples of ``epoch`` that ``step`` waited for have come to their end."""
        book = self._book(step)
        book.epoch = epoch
        book.settled += size
        book.samples += size if applied else 0

    def add(self, step: int, weight: float) -> None:
        """A contribution of this weight was added to ``step``."""
        self._book(step).weight += weight

    def issue(self, step: c.Step) -> None:
        """A step is taken."""
        if step.step != self.issued or step.version != step.step + 1:
            self._complain(f"step {step.step} makes version {step.version}, but step {self.issued} is due")
        self.issued = step.step + 1
        book = self._book(step.step)
        if step.samples != book.samples:
            self._complain(f"step {step.step} counts {step.samples} samples, but {book.samples} were added")
        if self._settings is None:
            return
        batch = self._settings.batch
        rescale = 1.0 if book.weight in (0.0, batch) else batch / book.weight
        if not math.isclose(step.rescale, rescale, rel_tol=1e-9):
            self._complain(f"step {step.step} is rescaled by {step.rescale}, not by {rescale}")
        positions = self._positions.count(book.epoch)
        if book.settled != batch and positions is not None:
            short = self._short.setdefault(book.epoch, [])
            short.append(book.settled)
            if short != [positions % batch] or self._settings.drop_last:
                self._complain(f"step {step.step} has {book.settled} samples, and is no remainder of an epoch")

    def finish(self, version: int) -> None:
        """The step that makes ``version`` is done."""
        if version != self.done + 1 or version > self.issued:
            self._complain(f"version {version} was done after version {self.done}")
        self.done = version
        self._steps.pop(version - 1, None)

    def _book(self, step: int) -> _Step:
        return self._steps.setdefault(step, _Step())
