"""Asynchronous parallel: nobody waits."""

from __future__ import annotations

from typing import ClassVar

from ..members import Member
from ..state import RunState
from .per_push import AUTO, PerPush

SCALINGS = ("none", "staleness")


class Asynchronous(PerPush):
    """Each push is applied at once; nobody waits.

    Throughput is the sum of the workers'; the price is staleness ``τ`` of about the number of workers, in steps
    (Recht et al., "Hogwild!", NIPS 2011; Dean et al., "Large Scale Distributed Deep Networks", NIPS 2012).

    With ``rate_scaling="staleness"`` a push's learning rate is ``η·(k/B)/max(1, τ)`` (Zhang et al.,
    "Staleness-aware Async-SGD for Distributed Deep Learning", IJCAI 2016).

    Args:
        push: samples of a push; ``"auto"``: ``B/n``.
        rate_scaling: ``"none"`` or ``"staleness"``.

    Raises:
        ValueError: ``push`` is neither ``"auto"`` nor a whole number from 1, or ``rate_scaling`` is no such word.
    """

    name: ClassVar[str] = "asynchronous"

    def __init__(self, push: int | str = AUTO, rate_scaling: str = "none") -> None:
        super().__init__(push)
        if rate_scaling not in SCALINGS:
            raise ValueError(f"rate_scaling must be one of {', '.join(SCALINGS)}, not {rate_scaling!r}")
        self.rate_scaling = rate_scaling

    def start_from(self, state: RunState, member: Member, size: int, now: float) -> int | None:
        """Now, on whatever is at hand."""
        return 0

    def rate_scale(self, staleness: int) -> float:
        """``1/max(1, τ)``, if it is asked for.

        >>> [Asynchronous(rate_scaling="staleness").rate_scale(staleness) for staleness in (0, 1, 4)]
        [1.0, 1.0, 0.25]
        """
        return 1.0 / max(1, staleness) if self.rate_scaling == "staleness" else 1.0
