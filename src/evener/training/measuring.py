"""How fast this worker is on its own: the user's loop over a plain loader, forward and backward, nothing sent.

All workers of a cluster measure at the same time, each at micro-batches of 8 to 128 samples; the sum of their best
rates is the *limit* that utilisation is a share of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..runtime.place import Place
from .loader import options
from .metrics import Scalar, number
from .optimizer import IdleOptimizer
from .session import Session
from .setup import Setup
from .statistics import RunningStatistics
from .warmup import Throttle, probe

SECONDS = 1.2
"""Time given to each size, at least; a micro-batch that has begun is finished."""

BATCHES = 3
"""Micro-batches of each size, at least."""

PATIENCE = 120.0
"""Seconds to wait for the other workers."""


class LimitSession(Session):
    """One epoch in which the loader yields micro-batches of each size in turn, and the optimizer does nothing."""

    def __init__(self, place: Place, device: torch.device) -> None:
        super().__init__(device)
        self._place = place
        self._folder = Path(place.record)

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        _, throttle = probe(setup.model, setup.loader, RunningStatistics(setup.model), self._place.slowness)
        loader = LimitLoader(setup.loader, self._folder, self._place, throttle)
        return setup.model, IdleOptimizer(setup.optimizer), loader

    def _epochs(self, count: int) -> Iterator[int]:
        yield 0

    def log(self, **values: Scalar) -> None:
        """Costs what logging costs on a worker, and goes nowhere."""
        for value in values.values():
            number(value)


class LimitLoader:
    """Yields the user's batches in each of its place's sizes, and keeps the time."""

    def __init__(self, loader: DataLoader[Any], folder: Path, place: Place, throttle: Throttle | None) -> None:
        self._loader = loader
        self._folder = folder
        self._place = place
        self._throttle = throttle

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        self._meet("ready")
        rates: dict[str, float] = {}
        for size in self._place.sizes:
            if size > self._loader.batch_size:  # type: ignore[operator]
                break
            yield from self._measure(size, rates)
        rate = {"worker": self._place.index, "sizes": rates}
        whole = self._folder / f"rate-{self._place.index}.json"
        whole.with_suffix(".part").write_text(json.dumps(rate))
        whole.with_suffix(".part").rename(whole)
        # Keep the machine as busy as it was until the slowest is done: the limit is of all at once.
        self._arrive("done")
        while not self._all_here("done"):
            yield from self._measure(int(max(rates, key=lambda key: rates[key])), {}, seconds=0.2)

    def _measure(self, size: int, rates: dict[str, float], seconds: float = SECONDS) -> Iterator[Any]:
        batches = self._endless(size)
        yield next(batches)  # not counted: it allocates
        began = time.perf_counter()
        count = 0
        while count < BATCHES or time.perf_counter() - began < seconds:
            if self._throttle is not None:
                self._throttle.begin()
            yield next(batches)
            if self._throttle is not None:
                self._throttle.pause()
            count += 1
        rates[str(size)] = count * size / (time.perf_counter() - began)

    def _endless(self, size: int) -> Iterator[Any]:
        loader: DataLoader[Any] = DataLoader(
            self._loader.dataset,
            batch_size=size,
            sampler=self._loader.sampler,
            collate_fn=self._loader.collate_fn,
            drop_last=True,
            **options(self._loader),
        )
        while True:
            yield from loader

    # Files in the run's folder are enough of a meeting point: only processes of one machine measure together.

    def _arrive(self, what: str) -> None:
        (self._folder / f"{what}-{self._place.index}").touch()

    def _all_here(self, what: str) -> bool:
        return all((self._folder / f"{what}-{index}").exists() for index in range(self._place.workers))

    def _meet(self, what: str) -> None:
        self._arrive(what)
        until = time.monotonic() + PATIENCE
        while not self._all_here(what):
            if time.monotonic() > until:
                raise TimeoutError("the other workers did not get ready to measure; see their output")
            time.sleep(0.02)
