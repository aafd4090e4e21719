"""The parts of plain training that the runners share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.workloads import LEARNING_RATE, MOMENTUM, WORKLOADS

from .job import Job


def model_of(job: Job) -> nn.Module:
    """The workload's model. One thread computes: a host here is a part of one core."""
    torch.set_num_threads(1)
    return WORKLOADS[job.workload].build()


def optimizer_of(model: nn.Module) -> torch.optim.SGD:
    """The same for all systems."""
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)


def gradient(model: nn.Module, batch: list[Tensor], weight: float = 1.0) -> None:
    """Forward and backward."""
    x, y = batch
    (cross_entropy(model(x), y) * weight).backward()  # type: ignore[no-untyped-call]


def gradient_of(job: Job) -> Callable[[nn.Module, list[Tensor]], None]:
    """:func:`gradient`; where there are no quotas, one that pauses after it, as evener's workers do there."""
    if not job.pauses:
        return gradient
    from evener.training.warmup import Throttle  # the peers' processes have no evener

    throttle = Throttle(job.share)

    def slow(model: nn.Module, batch: list[Tensor]) -> None:
        throttle.begin()
        gradient(model, batch)
        throttle.pause()

    return slow


def warm_up(job: Job, model: nn.Module, sizes: tuple[int, ...]) -> None:
    """The first uses of a size allocate and choose kernels: that is nobody's speed."""
    data = WORKLOADS[job.workload].data()
    for size in sizes:
        for _ in range(2):
            samples = [data[index] for index in range(size)]
            gradient(model, [torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])])
    model.zero_grad()
