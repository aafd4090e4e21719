"""What the runtime needs from those who know tensors. ``training`` implements it; nothing here imports torch."""

from __future__ import annotations

from typing import Protocol

from ..core import commands as c
from .protocol import Entry, Push

Buffer = memoryview
"""Flat bytes. The layout is the implementer's; both sides have the same one because their entries agree."""


class ServerNumeric(Protocol):
    """Parameters and optimizer, on the server. All calls come from the server's loop thread."""

    entries: list[Entry]
    push_bytes: int

    def constants(self) -> Buffer:
        """State that is not trained: frozen parameters, other buffers."""

    def draw(self, epoch: int) -> Buffer:
        """The sampler's order for ``epoch`` as int64 data set indices."""

    def verdict(self, head: Push, payload: Buffer) -> str:
        """``"ok"``, or why this contribution must not count."""

    def accumulate(self, step: int, head: Push, payload: Buffer, factor: float) -> None:
        """Add ``factor · ḡ`` to the batch gradient of ``step``."""

    def step(self, step: c.Step) -> None:
        """Carry the optimizer step out."""

    def publish(self) -> Buffer:
        """The current parameters, as bytes that never change."""

    def end_epoch(self, epoch: int, version: int) -> None:
        """Step the epoch scheduler and keep a snapshot."""
