"""PyTorch's post-local SGD: every host steps on its own, and every so many steps the parameters are averaged."""

from __future__ import annotations

import torch.distributed as dist
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.optim import PostLocalSGDOptimizer

from benchmarks.workloads import WORKLOADS

from .job import Job, Progress
from .training import gradient, model_of, optimizer_of, warm_up


def main() -> None:
    """Train until killed."""
    job = Job.here()
    period = int(job.options["period"])
    model = model_of(job)
    warm_up(job, model, (job.part,))
    dist.init_process_group(
        "gloo", init_method=f"tcp://{job.addresses[0]}:{job.port}", rank=job.index, world_size=job.hosts
    )
    averager = PeriodicModelAverager(period=period, warmup_steps=0)
    optimizer = PostLocalSGDOptimizer(optim=optimizer_of(model), averager=averager)
    progress = Progress(job)
    job.ready()
    for step, batch in enumerate(WORKLOADS[job.workload].batches(job.part, job.index)):
        optimizer.zero_grad()
        gradient(model, batch)
        optimizer.step()  # type: ignore[no-untyped-call]
        if step % period == 0:  # the averager averages at its steps 0, period, 2 period …
            progress.add(job.part if step == 0 else job.part * period)


if __name__ == "__main__":
    main()
