"""A user's script: a workload, trained through ``evener.join()`` for so many epochs."""

from __future__ import annotations

import sys
from pathlib import Path

from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader

import evener

sys.path.append(str(Path(__file__).parents[2]))  # an engine's processes have an environment of their own

from benchmarks.workloads import LEARNING_RATE, MOMENTUM, WORKLOADS


def main(workload: str, batch: str, epochs: str) -> None:
    """Train."""
    session = evener.join()
    model = WORKLOADS[workload].build()
    loader = DataLoader(WORKLOADS[workload].data(), batch_size=int(batch), shuffle=True)
    optimizer = SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    # Which layout a worker measures to be faster is a matter of chance where both are as fast, and one run's alone.
    model, shared, batches = session.prepare(model, optimizer, loader, channels_last=False)
    for _ in session.epochs(int(epochs)):
        for x, y in batches:
            shared.zero_grad()
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            shared.step()


if __name__ == "__main__":
    main(*sys.argv[1:])
