"""torchft's LocalSGD and DiLoCo: one replica group for each host, and the lighthouse on the server's host."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import torch
from torch import nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from benchmarks.workloads import WORKLOADS

from .job import SERVER, Job, Progress, wait_for
from .training import gradient, model_of, optimizer_of, warm_up

PATIENCE = timedelta(seconds=120)
"""For one operation: a slow host's ten steps may take long."""


def least(job: Job) -> int:
    """Replica groups that may go on without the others."""
    return max(1, job.hosts // 2)


def lighthouse(job: Job) -> None:
    """Serve until killed."""
    from torchft.coordination import LighthouseServer

    server = LighthouseServer(bind=f"0.0.0.0:{job.port}", min_replicas=least(job), join_timeout_ms=10_000)
    job.path("lighthouse").touch()
    job.ready()
    while server:
        time.sleep(60)


def manager_of(job: Job, model: nn.Module) -> Any:
    """This host's replica group of one, with the store that it needs."""
    from torchft import Manager, ProcessGroupGloo

    port = job.port + 1
    store = TCPStore(job.address, port, is_master=True, wait_for_workers=False)
    manager = Manager(
        pg=ProcessGroupGloo(timeout=PATIENCE),
        load_state_dict=lambda state: model.load_state_dict(state),
        state_dict=model.state_dict,
        min_replica_size=least(job),
        use_async_quorum=False,
        timeout=PATIENCE,
        quorum_timeout=PATIENCE,
        rank=0,
        world_size=1,
        store_addr=job.address,
        store_port=port,
        lighthouse_addr=f"http://{job.server}:{job.port}",
        replica_id=f"host{job.index}",
        hostname=job.address,
        init_sync=False,
    )
    manager.store = store  # it must live as long
    return manager


def main() -> None:
    """Train until killed."""
    job = Job.here()
    if job.index == SERVER:
        lighthouse(job)
    from torchft.local_sgd import DiLoCo, LocalSGD

    period = int(job.options["period"])
    model = model_of(job)
    warm_up(job, model, (job.part,))
    optimizer = optimizer_of(model)
    wait_for(job.path("lighthouse"))
    manager = manager_of(job, model)
    if job.options["method"] == "DiLoCo":
        outer = torch.optim.SGD(model.parameters(), lr=0.7, momentum=0.9, nesterov=True)  # the paper's
        method: Any = DiLoCo(manager, [model], optimizer, outer, sync_every=period)
    else:
        method = LocalSGD(manager, model, optimizer, sync_every=period)
    progress = Progress(job)
    job.ready()
    with method:
        for step, batch in enumerate(WORKLOADS[job.workload].batches(job.part, job.index), 1):
            optimizer.zero_grad()
            gradient(model, batch)
            before = manager.current_step()
            optimizer.step()
            if step % period == 0 and manager.current_step() > before:  # else the round came to nothing
                progress.add(job.part * period)


if __name__ == "__main__":
    main()
