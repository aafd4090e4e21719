"""A plain loop: what the script is without any of the systems. One host, and the whole batch."""

from __future__ import annotations

from benchmarks.workloads import WORKLOADS

from .job import Job, Progress
from .training import gradient_of, model_of, optimizer_of, warm_up


def main() -> None:
    """Train until killed."""
    job = Job.here()
    model = model_of(job)
    warm_up(job, model, (job.part,))
    optimizer, gradient = optimizer_of(model), gradient_of(job)
    progress = Progress(job)
    job.ready()
    for batch in WORKLOADS[job.workload].batches(job.part, job.index):
        optimizer.zero_grad()
        gradient(model, batch)
        optimizer.step()
        progress.add(job.part)


if __name__ == "__main__":
    main()
