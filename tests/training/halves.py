"""Two workers and a server without processes: each step's batch in two halves, through the layers that know tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from evener.core import commands as c
from evener.runtime.protocol import Push
from evener.training.contribution import GradientSum
from evener.training.guard import Guard
from evener.training.master import Master, trained_parameters
from evener.training.optimizer import WorkerOptimizer
from evener.training.setup import Setup
from evener.training.store import FlatStore

BATCH, STEPS = 16, 12
Body = Callable[[nn.Module, Any, Tensor, Tensor], object]
"""The inner loop's body: ``body(model, optimizer, x, y)``."""
Make = Callable[[], tuple[nn.Module, Optimizer]]
"""The same model and optimizer each time it is called, once ``torch`` is seeded."""


def made(make: Make) -> tuple[nn.Module, Optimizer]:
    """What ``make`` makes in every process of a run."""
    torch.manual_seed(3)
    return make()


class Worker:
    """What a worker does with the script's model and optimizer."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model = model
        self.store = FlatStore(model, trained_parameters(optimizer))
        self.store.statistics.observe()
        self.guard = Guard(model, optimizer, self.store)
        self.guard.watch()
        self.sum = GradientSum(self.store)
        self.optimizer = WorkerOptimizer(optimizer, self._stepped)
        self.samples = 0

    def _stepped(self, weight: float | None) -> None:
        self.guard.check_state()
        self.guard.check_gradients()
        self.sum.add(weight or self.samples)

    def push(self, body: Body, x: Tensor, y: Tensor) -> tuple[Push, memoryview]:
        """Run the loop's body on some samples; returns the contribution."""
        self.samples = len(x)
        self.guard.begin_batch()
        body(self.model, self.optimizer, x, y)
        payload, weight, present = self.sum.take()
        return Push(0, (0,), (0,), weight, present, {}), payload


def in_halves(make: Make, body: Body, x: Tensor, y: Tensor, clip_norm: float | None = None) -> nn.Module:
    """Train for :data:`STEPS` steps of :data:`BATCH` samples; returns the server's model."""
    model, optimizer = made(make)
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH)
    master = Master(Setup(model, optimizer, loader, clip_norm=clip_norm), lambda epoch: range(len(x)))
    workers = [Worker(*made(make)) for _ in range(2)]
    published = master.publish()
    for step in range(STEPS):
        span = slice(step * BATCH, (step + 1) * BATCH)
        for worker, half, labels in zip(workers, x[span].chunk(2), y[span].chunk(2), strict=True):
            worker.store.install(bytearray(published))
            push, payload = worker.push(body, half, labels)
            assert master.verdict(push, payload).word == "ok"
            master.accumulate(step, push, payload, 0.5)
        master.step(c.Step(step, step + 1, BATCH, 1.0, 1.0, 1))
        published = master.publish()
    return master.model


def in_one(make: Make, body: Body, x: Tensor, y: Tensor) -> nn.Module:
    """What a plain loop in one process trains."""
    model, optimizer = made(make)
    for batch, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        body(model, optimizer, batch, labels)
    return model


def samples(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Data for the steps: inputs of this shape, and one of four classes."""
    torch.manual_seed(7)
    count = BATCH * STEPS
    return torch.randn(count, *shape, dtype=dtype), torch.randint(0, 4, (count,))


def distance(ours: nn.Module, theirs: nn.Module) -> float:
    """The largest relative norm of a difference between parameters."""
    pairs = [(a.detach(), b.detach()) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs)
