"""PyTorch's DistributedDataParallel over gloo: equal parts of the batch, or parts in proportion to speed."""

from __future__ import annotations

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.workloads import WORKLOADS

from .job import Job, Progress, loss_weights
from .training import gradient, model_of, optimizer_of, warm_up


def main() -> None:
    """Train until killed."""
    job = Job.here()
    model = model_of(job)
    warm_up(job, model, (job.part,))
    dist.init_process_group(
        "gloo", init_method=f"tcp://{job.addresses[0]}:{job.port}", rank=job.index, world_size=job.hosts
    )
    replica = DistributedDataParallel(model)
    optimizer = optimizer_of(model)
    weight = loss_weights(job.parts)[job.index]
    progress = Progress(job)
    job.ready()
    for batch in WORKLOADS[job.workload].batches(job.part, job.index):
        optimizer.zero_grad()
        gradient(replica, batch, weight)
        optimizer.step()
        progress.add(job.part)


if __name__ == "__main__":
    main()
