"""What a server starts from: nothing, or where another one stood that was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.ranges import size
from ..core.standing import Standing
from ..trace import EpochSaid
from .numeric import Buffer


@dataclass(frozen=True, slots=True)
class Past:
    """Where a run stands.

    Attributes:
        standing: of the coordinator.
        orders: the sampler's orders of the epochs under way.
        ended: the epochs that are over.
    """

    standing: Standing = field(default_factory=Standing)
    orders: dict[int, Buffer] = field(default_factory=dict)
    ended: tuple[EpochSaid, ...] = ()

    @property
    def applied(self) -> int:
        """Samples that the parameters contain.

        >>> Past(ended=(EpochSaid(0, 5, 100, 0, 0, 0),)).applied
        100
        """
        return sum(epoch.applied for epoch in self.ended) + sum(size(one.applied) for one in self.standing.epochs)
