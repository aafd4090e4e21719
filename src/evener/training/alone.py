"""The script on its own: plain training in one process, with batch ``B``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .loader import SeamLoader
from .metrics import Metrics, Scalar
from .optimizer import AloneOptimizer
from .session import Session
from .setup import Setup


class AloneSession(Session):
    """No launcher, no server, no workers."""

    is_server = True
    _in_a_run = False

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._metrics = Metrics()
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
            words = "  ".join(f"{name} {mean:.4g}" for name, mean in self._metrics.means().items())
            print(f"epoch {epoch + 1}/{count}  {words}  ({time.perf_counter() - began:.1f} s)", flush=True)
            self._metrics.take()

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
            self._metrics.add(name, value)
