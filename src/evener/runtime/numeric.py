"""What the runtime needs from those who know tensors. ``training`` implements it; nothing here imports torch."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from ..core import commands as c
from .protocol import Entry, Push

Buffer = memoryview
"""Flat bytes. The layout is the implementer's; both sides have the same one because their entries agree."""


class Extent(NamedTuple):
    """Bytes: trained ``values`` come behind ``version_head`` bytes of a version, ``push_head`` of a contribution."""

    version_head: int
    push_head: int
    values: int


class Verdict(NamedTuple):
    """On a contribution: ``word`` is ``"ok"`` or why it must not count; ``norm`` the gradient's 2-norm, if it is ok."""

    word: str
    norm: float = 0.0


class ServerNumeric(Protocol):
    """Parameters and optimizer, on the server. All calls come from the server's loop thread."""

    entries: list[Entry]
    push_bytes: int

    def constants(self) -> Buffer:
        """State that is not trained: frozen parameters, other buffers."""

    def draw(self, epoch: int) -> Buffer:
        """The sampler's order for ``epoch`` as int64 data set indices."""

    def verdict(self, head: Push, payload: Buffer) -> Verdict:
        """Whether this contribution may count."""

    def accumulate(self, step: int, head: Push, payload: Buffer, factor: float) -> None:
        """Add ``factor · ḡ`` to the batch gradient of ``step``. The payload is not kept: its memory is used again."""

    def step(self, step: c.Step) -> None:
        """Carry the optimizer step out."""

    def publish(self, into: Buffer | None = None) -> Buffer:
        """The current parameters, as bytes that do not change while anything refers to them: in ``into``, if given."""

    def end_epoch(self, epoch: int, version: int) -> None:
        """Step the epoch scheduler and keep a snapshot."""


def loss_of(metrics: dict[str, tuple[float, float]]) -> float | None:
    """The mean of the metric ``loss``, else of the first whose name contains that; ``None`` if none, or not finite."""
    name = "loss" if "loss" in metrics else min((name for name in metrics if "loss" in name.lower()), default=None)
    total, weight = metrics[name] if name is not None else (0.0, 0.0)
    mean = total / weight if weight else math.nan
    return mean if math.isfinite(mean) else None
