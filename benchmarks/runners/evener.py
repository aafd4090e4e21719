"""Evener over TCP: the same script on the server's host and on the others."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from benchmarks.workloads import WORKLOADS
from evener.runtime.place import Place, PolicyChoice, Slowness
from evener.training.joining import take

from .job import SERVER, Job
from .training import model_of, optimizer_of

EPOCHS = 10_000
"""More than anyone waits for: who measures ends the run."""

TOKEN = "a cluster of its own, where nobody else is"


def place_of(job: Job) -> Place:
    """The job, in evener's words."""
    serves = job.index == SERVER
    options = {name: value for name, value in job.options.items() if name != "channels_last"}
    return Place(
        role="server" if serves else "worker",
        address=f"tcp://{job.server}:{job.port}",
        token=TOKEN,
        run="benchmark",
        index=job.index,
        workers=job.hosts,
        policy=PolicyChoice(str(options.pop("policy")), options),
        record=job.folder if serves else "",
        slowness=None if serves else Slowness("throttle" if job.pauses else "cgroup", job.share, job.door),
        threads=1,
        tcp=True,  # the hosts share a kernel, but stand for machines
    )


def main() -> None:
    """Train until killed. What counted is in the run's record."""
    job = Job.here()
    # The hosts' network is this benchmark's own: what is compared with is not encrypted either.
    session = take(place_of(job), plain_outside=True)
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
