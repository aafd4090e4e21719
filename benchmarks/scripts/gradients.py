"""A user's script that counts: the CPU seconds of its gradients, and of all the rest of its loop; real sensor data."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

import evener
import evener.data

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.workloads import LEARNING_RATE, MOMENTUM, wearable


def main(batch: str, epochs: str, out: str) -> None:
    """Train, and write what it took to ``out``."""
    session = evener.join()
    train, _ = evener.data.har()
    data = TensorDataset(torch.from_numpy(train.x), torch.from_numpy(train.y))
    model = wearable()
    loader = DataLoader(data, batch_size=int(batch), shuffle=True)
    optimizer = SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    model, shared, batches = session.prepare(model, optimizer, loader, channels_last=False)
    gradients, count, samples, began = 0.0, 0, 0, 0.0
    for epoch in session.epochs(int(epochs)):
        if epoch == 1:  # the first warms up
            gradients, count, samples, began = 0.0, 0, 0, time.process_time()
        for x, y in batches:
            before = time.process_time()
            shared.zero_grad()
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            gradients += time.process_time() - before
            count, samples = count + 1, samples + len(x)
            shared.step()
    spent = time.process_time() - began
    Path(out).write_text(json.dumps({"seconds": spent, "gradients": gradients, "count": count, "samples": samples}))


if __name__ == "__main__":
    main(*sys.argv[1:])
