"""``evener profile`` on a host: within its quota, at the same time as on all others."""

from __future__ import annotations

import os

import torch
from torch.utils.data import DataLoader

import evener
from benchmarks.workloads import WORKLOADS
from evener.simulation.profile import Request

from .job import Job
from .training import model_of, optimizer_of


def main() -> None:
    """Measure. What is found goes into a folder of this host's own."""
    job = Job.here()
    model = model_of(job)
    loader = DataLoader(WORKLOADS[job.workload].data(), batch_size=job.batch, shuffle=True)
    folder = job.path(f"profile-{job.index}")
    folder.mkdir()
    seconds = float(job.options["seconds"])
    os.environ.update(Request(str(folder), sizes=job.sizes, seconds=seconds, threads=1).environment())
    join = evener.join  # imported before there is a quota; so is what torch imports at an optimizer's first step
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).step()
    job.ready()
    session = join()
    session.prepare(model, optimizer_of(model), loader)  # measures, and ends


if __name__ == "__main__":
    main()
