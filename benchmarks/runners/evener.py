"""Evener over TCP: the same script on the server's host and on the others.

Where hosts have several processes, each is a worker, or those of a host are one (the option ``group``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from benchmarks.workloads import WORKLOADS
from evener.runtime.place import Place, PolicyChoice, Slowness
from evener.training.group import Group
from evener.training.joining import take

from .job import KEYS, SERVER, Job
from .training import model_of, optimizer_of

EPOCHS = 10_000
"""More than anyone waits for: who measures ends the run."""

TOKEN = "a cluster of its own, where nobody else is"


OURS = ("channels_last", "compress", "group")
"""Options that are not the policy's."""


def keys_of(job: Job) -> Path:
    """This process's folder of keys."""
    return job.path(KEYS) if job.index == SERVER else job.path(KEYS) / f"host-{job.index}"


def group_of(job: Job) -> Group | None:
    """The processes of this host, if they are one worker."""
    if not job.options.get("group") or job.members == 1:
        return None
    tempfile.tempdir = job.folder  # where they meet: it goes away with the measurement
    return Group(f"host-{job.index}", job.member, job.members, torch.device("cpu"))


def place_of(job: Job) -> Place:
    """The job, in evener's words."""
    serves = job.index == SERVER
    options = {name: value for name, value in job.options.items() if name not in OURS}
    grouped = bool(job.options.get("group"))
    before = job.index if grouped or serves else sum(job.processes[: job.index]) or job.index
    return Place(
        role="server" if serves else "worker",
        address=f"tcp://{job.server}:{job.port}",
        token="" if job.keys else TOKEN,
        keys=str(keys_of(job)) if job.keys else "",
        run="benchmark" if serves or not job.keys else "",
        index=before + (0 if grouped else job.member),
        workers=job.hosts if grouped else sum(job.processes) or job.hosts,
        policy=PolicyChoice(str(options.pop("policy")), options),
        record=job.folder if serves else "",
        slowness=None if serves else Slowness("throttle" if job.pauses else "cgroup", job.share, job.door),
        threads=1,
        compress=str(job.options.get("compress", "none")),  # type: ignore[arg-type]
        tcp=True,  # the hosts share a kernel, but stand for machines
    )


def main() -> None:
    """Train until killed. What counted is in the run's record."""
    job = Job.here()
    # The hosts' network is this benchmark's own, and what is compared with is not encrypted either.
    session = take(place_of(job), plain_outside=not job.keys, group=group_of(job))
    model = model_of(job)
    loader = DataLoader(WORKLOADS[job.workload].data(), batch_size=job.batch, shuffle=True)
    layout: Any = job.options.get("channels_last")
    model, optimizer, loader = session.prepare(model, optimizer_of(model), loader, channels_last=layout)
    for _ in session.epochs(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


if __name__ == "__main__":
    main()
