"""The limit: plain loader, forward and backward, nothing sent. Every host at its own best size of micro-batch.

With several sizes, each is measured first and the rates are left in a file; then, as with one, the host goes on with
the best until it is killed, so that all hosts are busy while any measures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.workloads import WORKLOADS

from .job import Job, Progress
from .training import gradient_of, model_of, warm_up

SECONDS = 1.2
"""Time given to each size, at least, when several are measured."""

BATCHES = 3
"""Micro-batches of each size, at least."""


def channels_last(gradient: Callable[[nn.Module, list[Tensor]], None]) -> Callable[[nn.Module, list[Tensor]], None]:
    """:func:`gradient` of pictures in torch's other layout."""

    def laid_out(model: nn.Module, batch: list[Tensor]) -> None:
        x, y = batch
        gradient(model, [x.to(memory_format=torch.channels_last), y])

    return laid_out


def rate(
    gradient: Callable[[nn.Module, list[Tensor]], None], model: nn.Module, batches: Iterator[list[Tensor]], size: int
) -> float:
    """Samples/s at this size."""
    gradient(model, next(batches))  # not counted: it allocates
    model.zero_grad()
    began, count = time.perf_counter(), 0
    while count < BATCHES or time.perf_counter() - began < SECONDS:
        gradient(model, next(batches))
        model.zero_grad()
        count += 1
    return count * size / (time.perf_counter() - began)


def main() -> None:
    """Measure until killed."""
    job = Job.here()
    model = model_of(job)
    workload, gradient = WORKLOADS[job.workload], gradient_of(job)
    if job.options.get("channels_last"):
        model, gradient = model.to(memory_format=torch.channels_last), channels_last(gradient)  # type: ignore[call-overload]
    warm_up(job, model, job.sizes)
    job.ready()
    best = job.sizes[0]
    if len(job.sizes) > 1:
        rates = {size: rate(gradient, model, workload.batches(size, job.index), size) for size in job.sizes}
        best = max(rates, key=lambda size: rates[size])
        if not job.member:
            whole = job.path(f"rates-{job.index}.json")
            whole.with_suffix(".part").write_text(json.dumps(rates))
            whole.with_suffix(".part").rename(whole)
    progress = Progress(job)
    for batch in workload.batches(best, job.index):
        gradient(model, batch)
        model.zero_grad()
        progress.add(best)


if __name__ == "__main__":
    main()
