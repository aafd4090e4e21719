"""The script on its own: plain training in one process, with batch ``B``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .loader import SeamLoader
from .optimizer import AloneOptimizer
from .session import Scalar, Session, number
from .setup import Setup


class AloneSession(Session):
    """No launcher, no server, no workers."""

    is_server = True

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._sums: dict[str, tuple[float, float]] = {}
        self._epoch_scheduler: Any = None
        self._due = False

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        self._epoch_scheduler = setup.epoch_scheduler
        self._loader = setup.loader
        optimizer = AloneOptimizer(setup.optimizer, setup.clip_norm, setup.step_scheduler)
        return setup.model, optimizer, SeamLoader(setup.loader, self._batches)

    def _epochs(self, count: int) -> Iterator[int]:
        for epoch in range(count):
            began = time.perf_counter()
            self._due = True
            yield epoch
            self._end_epoch()
            words = "  ".join(f"{name} {total / weight:.4g}" for name, (total, weight) in self._sums.items())
            print(f"epoch {epoch + 1}/{count}  {words}  ({time.perf_counter() - began:.1f} s)", flush=True)
            self._sums.clear()

    def _batches(self) -> Iterator[Any]:
        yield from self._loader
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Step the epoch scheduler: when an epoch's batches are through, or when it is left; once."""
        if self._due and self._epoch_scheduler is not None:
            self._epoch_scheduler.step()
        self._due = False

    def log(self, **values: Scalar) -> None:
        """Average over the epoch; printed at its end."""
        for name, value in values.items():
            total, weight = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = total + number(value), weight + 1.0
